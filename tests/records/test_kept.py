"""What is kept of shared stages and nobody wants any more is removed, and nothing else."""

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from reweigh.records import kept

NOW = 1_000_000_000.0
DAY = kept.AGE_SECONDS
KEYS = [f"{number:x}" * 64 for number in range(4)]
MADE = ["today's", "another one of today", "of older code"]
NOTES = st.sampled_from([*MADE, None, "{", "[]", '{"run": 1}', "\0"])
SIZES = st.dictionaries(st.sampled_from([".pt", ".part", ".pt.tmp"]), st.integers(0, 3000), max_size=3)
AGES = st.sampled_from([0.0, DAY - 1, DAY + 1, 30 * DAY])
KEPT_KEYS = st.dictionaries(
    st.sampled_from(KEYS), st.tuples(NOTES, SIZES, AGES, st.booleans(), st.booleans()), max_size=4
)
STRANGERS = {
    "whole/" + KEYS[0] + ".json": "a link",
    "whole/" + KEYS[0] + ".part": "a beginning",
    "README": "of somebody",
    KEYS[0][:-1] + ".pt": "no key",
    KEYS[1] + ".pt.bak": "a copy",
    KEYS[2] + "0.pt": "no key either",
    KEYS[3].upper() + "Z.json": "nor this",
    f"{'e' * 64}.pt/inside.pt": "in a folder that is called as a file",
}


def written(path, content, age=30 * DAY):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (NOW - age, NOW - age))
    return path


def path_of(folder, key, ending):
    return folder / (f".{key}.pt.0a1b.tmp" if ending == ".pt.tmp" else f"{key}{ending}")


def contents(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        found[path] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


@settings(max_examples=150)
@given(KEPT_KEYS, st.sets(st.sampled_from(MADE[:2])))
def test_only_what_nobody_wants_and_nobody_holds_is_removed(tmp_path_factory, keys, wanted):
    place = tmp_path_factory.mktemp("project")
    folder, outside = place / ".reweigh/prefixes", written(place / "outside/results.pt", "of somebody else")
    for name, content in STRANGERS.items():
        written(folder / name, content)
    (folder / f"{'d' * 64}.pt").symlink_to(outside)
    (folder / f"{'c' * 64}.part").symlink_to(outside.parent)
    for path in [*folder.glob("c*"), *folder.glob("d*"), *folder.glob("e*")]:
        os.utime(path, (NOW - 30 * DAY,) * 2, follow_symlinks=False)
    expected, count, locks = 0, 0, set()
    with contextlib.ExitStack() as held:
        for key, (note, sizes, age, is_held, has_lock) in keys.items():
            files = [written(path_of(folder, key, ending), b"x" * size, age) for ending, size in sizes.items()]
            if note is not None:
                text = json.dumps({"run": "a/b", "made_of": note}) if note in MADE else note
                files.append(written(folder / f"{key}.json", text))
            if is_held or has_lock:
                locks.add(lock := written(folder / f"{key}.lock", "a run 1\n"))
                if is_held:
                    fcntl.flock(held.enter_context(open(lock)), fcntl.LOCK_EX)
            young = sizes and age < DAY
            if files and not (note in wanted or young or is_held):
                expected += sum(file.stat().st_size for file in files)
                count += 1
                gone = {*files, folder / f"{key}.lock"}
            else:
                gone = set()
            keys[key] = gone
        before = contents(place)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert kept.remove_unwanted(wanted, folder, NOW) == expected
        gone = set().union(*keys.values())
        assert contents(place) == {path: content for path, content in before.items() if path not in gone}
    lines = said.getvalue().splitlines()
    assert len(lines) == (count > 0)
    assert not lines or lines[0].startswith(f"removed {expected / 1e6:.1f} MB of {kept.FOLDER}: {count} shared stages")
    assert kept.remove_unwanted(wanted, folder / "not there", NOW) == 0
    shutil.rmtree(place)


def test_what_another_process_holds_stays_until_it_is_killed(tmp_path, capsys):
    state = written(tmp_path / f"{KEYS[0]}.pt", b"x" * 2_000_000)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(state.with_suffix(".lock"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        assert kept.remove_unwanted([], tmp_path, NOW) == 0 and state.is_file() and capsys.readouterr().err == ""
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kept.remove_unwanted([], tmp_path, NOW) == 2_000_000 and not list(tmp_path.iterdir())
    assert capsys.readouterr().err == f"removed 2.0 MB of {kept.FOLDER}: 1 shared stages of older code or config\n"


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    state = written(tmp_path / f"{KEYS[0]}.pt", b"x")
    monkeypatch.setattr(kept, "locked", lambda path: None)  # as where a lock file cannot be made
    assert kept.remove_unwanted([], tmp_path, NOW) == 0 and state.is_file()


def test_what_is_gone_in_between_is_no_error(tmp_path, monkeypatch, capsys):
    paths = [written(tmp_path / f"{key}.pt", b"x" * 5) for key in KEYS[:2]]
    monkeypatch.setattr(kept, "_files", lambda folder: {path.stem: [path, path.with_suffix(".part")] for path in paths})
    assert kept.remove_unwanted([], tmp_path, NOW) == 0  # its .part is gone: another process is at it
    monkeypatch.setattr(kept, "_changed", lambda file: 0)
    assert kept.remove_unwanted([], tmp_path, NOW) == 10 and not list(tmp_path.iterdir())
