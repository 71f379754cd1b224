"""`make stress`, shorter: a replication that is disturbed a few times, and changes of bytes of files of each kind."""

import dataclasses
import signal
import subprocess
import sys
import time

import pytest
from stress import changes, kills
from stress.byte_changes import WAYS, Change, apply
from stress.failures import Failure
from stress.faults import Faults
from stress.kept_files import LOG, Kept
from support import project

from reweigh.errors import DataError
from reweigh.planning import attempts

TRIED = 200


@pytest.mark.slow
def test_a_replication_that_is_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path, raw_root):
    said = []
    done = kills.stress(tmp_path, raw_root, kills=2, seed=1, grid=kills.SMALL, tell=said.append)
    assert done.total() == 2, said


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory, raw_root):
    return Kept(tmp_path_factory.mktemp("stress") / "kept", raw_root.resolve())


@pytest.mark.slow
def test_no_changed_byte_of_what_is_read_again_gives_a_wrong_answer(kept):
    tried = changes.Changes(kept)
    for change in changes.several(TRIED, seed=18):
        tried.try_(change)
    assert tried.counted.total() == TRIED
    assert {kind for kind, _ in tried.counted} == set(changes.KINDS)
    assert {outcome for _, outcome in tried.counted} == set(changes.OUTCOMES)


def wait():
    time.sleep(5)


def fail():
    raise UnicodeDecodeError("utf-8", b"", 0, 1, "invalid")


def refuse():
    raise DataError("something is damaged")


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (lambda: 0, "starts answers wrongly: 'False' for 'True'"),
        (fail, "starts ended with UnicodeDecodeError"),
        (refuse, "starts: no line that names the file: something is damaged"),
        (lambda: print("oh", file=sys.stderr) or 1, "starts said nothing of the file, but: oh"),
        (wait, "no answer in 0 s"),
    ],
    ids=["wrong", "unexpected", "unnamed", "beside the point", "for ever"],
)
def test_a_wrong_answer_is_told_with_the_change_that_gave_it(does, told, kept, monkeypatch):
    """The program takes the note as it should, and `does` something else once it has changed."""
    note = attempts.FOLDER / LOG
    change = next(one for one in changes.several(100, seed=1) if one.kind == "note of attempts")
    monkeypatch.setattr(attempts, "starts_left", lambda *_: 1 if note.read_bytes() == kept.files[note] else does())
    monkeypatch.setattr(changes, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(Failure, match=f"^change {change.number} of a file of kind 'note of attempts', .*: {told}"):
        changes.Changes(kept).try_(change)
    assert note.as_posix() in {path.as_posix() for path in kept.files}


def test_what_every_byte_of_is_promised_must_be_noticed(kept, monkeypatch):
    change = next(one for one in changes.several(100, seed=1) if one.kind == "raw file")
    monkeypatch.setattr(Kept, "fetch", lambda self, path: {})
    monkeypatch.setitem(
        changes.KINDS, "raw file", dataclasses.replace(changes.KINDS["raw file"], questions=(Kept.fetch,))
    )
    with pytest.raises(Failure, match=r"nothing noticed it$"):
        changes.Changes(kept).try_(change)


def test_after_a_change_everything_is_as_it_was(kept):
    tried = changes.Changes(kept)
    for change in changes.several(2 * len(changes.KINDS), seed=2):
        tried.try_(change)
    with kept.inside():
        assert {path: path.read_bytes() for path in kept._mutable()} == kept.files
        for path in kept.raw:
            assert path.samefile(kept.raw_root / path.relative_to("data/raw"))


def test_a_change_is_drawn_from_its_seed_and_number_alone(kept):
    with kept.inside():
        for number in range(len(changes.KINDS)):
            change = changes.numbered(number, 3)
            one, other = changes.draw(change, kept), changes.draw(changes.numbered(number, 3), kept)
            assert one == other
            assert one != changes.draw(changes.numbered(number, 4), kept)


def test_each_way_changes_what_it_says():
    content = bytes(range(1, 256)) * 40
    for number in range(20):
        made = {way: apply(content, way, Change(0, number, way).chance) for way in WAYS if way != "swapped"}
        differ = [place for place in range(len(content)) if made["bit"][place] != content[place]]
        assert len(differ) == 1 and (made["bit"][differ[0]] ^ content[differ[0]]).bit_count() == 1
        assert len(made["bytes"]) == len(made["zeros"]) == len(content)
        assert made["zeros"].count(0) in (512, 4096, len(content) % 512, len(content) % 4096, len(content))
        assert len(content) < len(made["inserted"]) <= len(content) + 16
        assert len(content) - 16 <= len(made["deleted"]) <= len(content)
        assert content.startswith(made["cut"])
    for way in made:
        assert apply(b"", way, Change(0, 0, way).chance).strip(b"\0") == b"" or way == "inserted"


# --- faults of the machine -------------------------------------------------------------------------------------------

PROGRAM = """
import datetime, os, sys, time
from pathlib import Path
from reweigh import canonical_json
try:
    canonical_json.write(Path(sys.argv[2]) / "file", "x")
except OSError as error:
    print(error.strerror, error.filename)
print(os.listdir(sys.argv[2]), isinstance(datetime.datetime.fromtimestamp(0), datetime.datetime))
print(round(time.time()), round(datetime.datetime.now(datetime.UTC).timestamp()))
"""


def ran(faults, folder):
    environment = project.environment(**faults.environment(project.environment()["PYTHONPATH"]))
    command = [sys.executable, "-c", PROGRAM, "train", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_disks_clocks_and_ends_at_a_rename(tmp_path):
    faults, folder = Faults(tmp_path / "faults"), tmp_path / "results"
    folder.mkdir()
    for call in ("open", "fsync"):
        with faults.full(folder, call):
            code, lines, said = ran(faults, folder)
        assert lines[:2] == [f"No space left on device {folder}/file", "[] True"], (lines, said)
    with faults.full(tmp_path / "other", "open"):
        assert ran(faults, folder)[1][0] == "['file'] True"
    (folder / "file").unlink()
    for when, left in (("before", 0), ("after", 1)):
        faults.end_at_rename(when)
        code, lines, said = ran(faults, folder)
        assert (code, faults.has_ended_one(), (folder / "file").exists()) == (-signal.SIGKILL, True, left), said
    faults.set_clock(-86_400.0, folder)
    assert (folder / "file").stat().st_mtime < time.time() - 80_000
    code, lines, said = ran(faults, folder)
    for told in lines[-1].split():
        assert abs(float(told) - (time.time() - 86_400)) < 100, said
