"""`reweigh doctor`: who holds the devices."""

import fcntl
import subprocess
import sys

import pytest
from support import pretended_gpus

from reweigh.planning import doctor
from reweigh.training import device

HOLD = """
import sys
from reweigh.training.device import take_lease
lease = take_lease()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def slot(tmp_path, monkeypatch):
    """The lock file of the only device, which is made up."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PATH", pretended_gpus.path(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("REWEIGH_SLOTS_PER_DEVICE", raising=False)
    ((_, path),) = device.slots(["0"])
    return path


def said():
    return dict(doctor.facts())["GPU 0"]


def test_a_device_is_free_or_held_by_a_process(slot):
    assert said() == "free"
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert said() == f"held by process {process.pid}"
    process.communicate("")
    assert said() == "free"


@pytest.mark.parametrize("content", ["", "\n", "no number\n", "²\n"])
def test_a_holder_that_has_not_written_its_id_is_one_too(slot, content):
    """Between its lock and its id, a process has the device."""
    with open(slot, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(content)
        lock.flush()
        assert said() == "held by a process that has not said which"
