"""Locks: taken, held by another, and disks that have none; there what is only waste goes on, and says so."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from reweigh import locks
from reweigh.data import manifest
from reweigh.digest import digest
from reweigh.errors import TrainingError
from reweigh.planning import call, fill
from reweigh.provenance import retraining
from reweigh.records import kept
from reweigh.training import device, shared


@pytest.fixture(params=sorted(locks.NONE), ids=errno.errorcode.get)
def none(request, monkeypatch):
    """A disk without locks."""

    def refuses(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuses)
    locks.without.cache_clear()


def test_one_at_a_time(tmp_path):
    with open(tmp_path / "a", "a+") as one, open(tmp_path / "a", "a+") as other:
        assert locks.take(one) and not locks.take(other) and not locks.take(other, shared=True)
    with open(tmp_path / "a", "a+") as one, open(tmp_path / "a", "a+") as other:
        assert locks.take(one, shared=True) and locks.take(other, shared=True)


def test_a_disk_without_locks_is_named_with_its_remedy(none, tmp_path):
    with open(tmp_path / "a", "a+") as file, pytest.raises(locks.NoLocks) as caught:
        locks.take(file)
    assert str(caught.value).startswith(f"{tmp_path}: its disk has no locks") and "-o flock" in str(caught.value)


def test_other_errors_are_raised_with_their_file(monkeypatch, tmp_path):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with open(tmp_path / "a", "a+") as file, pytest.raises(OSError, match="Input/output") as caught:
        locks.take(file)
    assert caught.value.filename == str(tmp_path / "a")


def test_what_is_only_waste_goes_on_and_says_so_once(none, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with manifest._alone(tmp_path / "raw") as locked:
            assert not locked
    with fill.alone(), retraining.workspace(tmp_path):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("going on without: " in line for line in lines)


def test_shared_stages_are_trained_by_each(none, tmp_path, capsys):
    lock = shared.Lock(tmp_path / "key.lock")
    run = type("Run", (), {})()
    assert lock.take(run, "a/seed0") and lock.held and shared.is_free(tmp_path / "key.pt")
    lock.release()
    assert not lock.path.exists() and "may be trained by each" in capsys.readouterr().err


def test_nothing_is_removed_without_a_lock(none, tmp_path):
    assert kept.locked(tmp_path / "key.lock") is None


def test_no_two_processes_get_one_device_unawares(none, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "visible_devices", lambda: ["0"])
    monkeypatch.setattr(device, "lock_folder", lambda: tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(TrainingError, match=r"no locks .* set TMPDIR"):
        device.take_lease()


# --- what somebody else has put there --------------------------------------------------------------------------------

VICTIM = "a file of mine\n" * 9


@pytest.fixture
def victim(tmp_path, monkeypatch):
    """A file, outside of the project, that must stay as it is; this process is in the project."""
    path = tmp_path / "victim"
    path.write_text(VICTIM)
    (tmp_path / "project" / ".reweigh" / "attest").mkdir(parents=True)
    (tmp_path / "leases").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(device, "visible_devices", lambda: ["0"])
    monkeypatch.setattr(device, "lock_folder", lambda: tmp_path / "leases")
    yield path
    assert path.read_text() == VICTIM


def stages(path):
    lock = shared.Lock(path)
    assert lock.take(type("Run", (), {})(), "smoke/a/b/c/d/seed0")
    lock.holder()
    lock.release()


def entered(context):
    with context:
        pass


LOCKS = {
    ".reweigh/key.lock": lambda: stages(Path(".reweigh/key.lock")),
    ".reweigh/fill.lock": lambda: entered(fill.alone()),
    f".reweigh/attest/{digest(retraining.platform_here())[:12]}.lock": lambda: entered(retraining.workspace(Path())),
    "raw/.lock": lambda: entered(manifest._alone(Path("raw"))),
    "../leases/0.0": lambda: device.take_lease(),
    ".reweigh/snakemake.lock": lambda: call.unlock(Path()),
}


@pytest.mark.parametrize("path", LOCKS)
@pytest.mark.parametrize("kind", ["link", "name", "pipe", "folder"])
def test_nothing_but_a_lock_is_written_to(kind, path, victim, monkeypatch):
    """A link, a second name of a file, a pipe, a folder: it is refused in a line, or taken and left as it is."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    {
        "link": lambda: place.symlink_to(victim),
        "name": lambda: os.link(victim, place),
        "pipe": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }[kind]()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if kind == "name" or path == ".reweigh/snakemake.lock":  # which does without
        LOCKS[path]()
    else:
        with pytest.raises(locks.NotALock, match=r"no lock but .*; remove it"):
            LOCKS[path]()


def test_a_lock_that_was_refused_in_a_look_is_no_reason_to_wait(victim):
    Path(".reweigh/key.lock").symlink_to(victim)
    assert shared.is_free(Path(".reweigh/key.pt"))
    assert kept.locked(Path(".reweigh/key.lock")) is None
    assert shared.Lock(Path(".reweigh/key.lock")).holder() == "another process"


def test_a_lock_says_who_holds_it(tmp_path):
    with locks.opened(tmp_path / "a") as one, locks.opened(tmp_path / "a") as other:
        for who in ("a long name of a run 12345", "short 1"):
            locks.tell(one, who)
            assert locks.told(other) == who


@pytest.mark.parametrize("what", ["link", "open to others", "another's"])
def test_leases_are_in_a_folder_of_ones_own_or_nowhere(what, tmp_path, monkeypatch):
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folder = device.lock_folder()
    assert folder.stat().st_mode & 0o777 == 0o700 and device.lock_folder() == folder
    if what == "link":
        folder.rename(tmp_path / "theirs")
        folder.symlink_to(tmp_path / "theirs")
    elif what == "open to others":
        folder.chmod(0o777)
    else:
        try:
            os.chown(folder, 65534, 65534)
        except PermissionError:
            pytest.skip("wants root, to give a folder to somebody else")
    with pytest.raises(locks.NotALock, match="no folder that you alone may write to; remove it, or set TMPDIR"):
        device.lock_folder()
