"""A disk that takes no more below `.reweigh`: training goes on without what only saves time, and says so once."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from support import disks, project
from support.prefixes import outcome, trained
from support.two_stages import CPU, spec_of

from reweigh.records.record import record_path
from reweigh.training import going_on
from reweigh.training.checkpoint import Clock
from reweigh.training.run import Job


@pytest.fixture
def refusing(small_disk, tmp_path, raw_root, monkeypatch):
    """A project whose `.reweigh` is a disk that takes no more; a function that makes it so, `full` or `read-only`."""
    folder = project.make(tmp_path / "project", raw_root)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(going_on, "_told", set())
    (folder / ".reweigh").symlink_to(small_disk)

    def make(how):
        if how == "full":
            disks.fill(small_disk)
        else:
            assert disks.mount(small_disk, "remount", "ro")

    return make


@pytest.fixture(scope="module")
def alone(tmp_path_factory, raw_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(tmp_path_factory.mktemp("alone"), raw_root))
        return outcome(trained("crt")[0])


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_run_ends_as_it_would_without_its_checkpoints(how, refusing, alone, capsys):
    """Of a method that shares its first stages: checkpoints, notes, locks and the stages themselves are refused."""
    refusing(how)
    body, steps = trained("crt")
    assert outcome(body) == alone and steps == body["steps"]
    assert body["prefix"]["reused"] is False and len(body["prefix"]["digest"]) == 64
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(lines)) and all(f"the disk is {how}; " in line for line in lines)
    ends = {line.partition("; going on without ")[2].partition(":")[0] for line in lines}
    assert {"checkpoints", "notes of what runs share", "what runs share"} <= ends | {"notes of what runs share"}
    assert not [name for name in disks.names(Path(".reweigh")) if name.endswith(".tmp")]


@pytest.mark.parametrize("at_once", ["1", "2"])
def test_the_command_writes_its_records_and_a_line_about_each_thing(at_once, refusing):
    refusing("read-only")
    specs = [project.spec_file(Path.cwd(), run, threads=1) for run in project.TRAINED[:2]]
    process = project.start(Path.cwd(), *specs, "--at-once", at_once, REWEIGH_CHECKPOINT_SECONDS="0")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in said
    assert all(record_path(run).is_file() for run in project.TRAINED[:2])
    assert said.count("going on without checkpoints") == int(at_once), said  # once a process


def test_who_has_to_stop_and_cannot_save_says_so(refusing):
    """Else the same command would be called again and again, and begin each time at the same step."""
    refusing("full")
    clock = Clock()
    job = Job(spec_of("none") | {"method_options": {"scale": "mean"}}, CPU, clock)
    with pytest.raises(OSError, match="No space"):
        job.finish(lambda run: run.step == 3 and clock.stop())


def test_where_the_record_would_be_refused_too_nothing_is_trained_in_vain(refusing, small_disk):
    os.symlink(small_disk, "results")
    refusing("full")
    with pytest.raises(OSError, match="No space") as caught:
        trained("crt")
    assert "results" in str(caught.value.filename)


@pytest.mark.parametrize("number", sorted(going_on.REFUSED), ids=errno.errorcode.get)
def test_each_refusal_is_said_once(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(going_on, "_told", set())
    for _ in range(3):
        with going_on.without("checkpoints", "smoke/a/b/c/d/seed0"):
            raise OSError(number, os.strerror(number), ".reweigh/x\n")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(".reweigh/x\\n: ") and line.endswith("; going on without checkpoints")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EINVAL], ids=errno.errorcode.get)
def test_other_errors_are_raised(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)), going_on.without("checkpoints", "smoke/a/b/c/d/seed0"):
        raise OSError(number, os.strerror(number))


# --- power -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def changes(monkeypatch):
    """Every change of the disk that a run has made, in order: (what, path), of content, name, folder, and removal."""
    seen = []
    fsync, replace, rmtree = os.fsync, os.replace, shutil.rmtree

    def synced(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        name = path if path.is_dir() else path.with_name(path.name[1:].rpartition(".")[0].rpartition(".")[0])
        seen.append(("folder" if path.is_dir() else "content", os.path.relpath(name)))
        fsync(descriptor)

    def renamed(made, path):
        replace(made, path)
        seen.append(("name", os.path.relpath(path)))

    def removed(path, **how):
        seen.append(("removed", os.path.relpath(path)))
        rmtree(path, **how)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(shutil, "rmtree", removed)
    return seen


def test_trace_and_record_are_on_the_disk_before_the_checkpoints_are_removed(folder, changes, monkeypatch):
    """Against a power cut: content, name and folder of each file are synced, in this order, one file after another."""
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "0")
    body, _ = trained("tau_norm")
    record, (checkpoints,) = record_path(body["run"]), [path for what, path in changes if what == "removed"]
    split = Path(body["split"]["path"])
    saved = Path(next(path for what, path in changes if what == "name" and path.startswith(checkpoints)))
    places = []
    for path in (split, split.with_suffix(".json"), saved, record.with_suffix(".npz"), record):
        place = changes.index(("name", str(path)))
        said = [("content", str(path)), ("name", str(path)), ("folder", str(path.parent))]
        assert changes[place - 1 : place + 2] == said
        places.append(place)
    assert places == sorted(places) and changes.index(("removed", checkpoints)) > places[-1] + 1
