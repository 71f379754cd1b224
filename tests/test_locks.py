"""Locks: taken, held by another, and disks that have none; there what is only waste goes on, and says so."""

import errno
import fcntl
import os

import pytest

from reweigh import locks
from reweigh.data import manifest
from reweigh.errors import TrainingError
from reweigh.planning import fill
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
