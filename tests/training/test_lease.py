"""Device leases with fake devices and real processes: never two on one slot, and a killed holder frees its slot."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
from support.project import environment

from reweigh.errors import ConfigError
from reweigh.training import device

HOLD = """
import sys, time
from reweigh.training.device import take_lease
lease = take_lease()
print(lease.device if lease else None, flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Two devices that do not exist, and a lock folder of the test's own; the environment for child processes."""
    changes = {"CUDA_VISIBLE_DEVICES": "fake0,fake1", "TMPDIR": str(tmp_path)}
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return environment(**changes)


def hold(environment, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_devices_serve_six_processes_without_sharing(fake, tmp_path):
    script = HOLD.replace("time.sleep", "open(sys.argv[2], 'a').write(f'+{lease.device} '); time.sleep") + (
        "open(sys.argv[2], 'a').write(f'-{lease.device} ')"
    )
    log = tmp_path / "log"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, "0.15", log], env=fake, stderr=subprocess.DEVNULL)
        for _ in range(6)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    held = set()
    for event in log.read_text().split():
        assert (event[1:] in held) == (event[0] == "-"), "a device was leased twice"
        held ^= {event[1:]}
    assert len(log.read_text().split()) == 12


def test_a_killed_holder_frees_its_device(fake):
    holders = [hold(fake, 600), hold(fake, 600)]
    assert {process.stdout.readline().strip() for process in holders} == {"fake0", "fake1"}
    shown = dict(device.holders())
    assert set(shown.values()) == {process.pid for process in holders}
    third = hold(fake, 0)
    assert "waiting for one of 2 devices" in third.stderr.readline()
    time.sleep(0.5)
    assert third.poll() is None, "a third process must wait"
    holders[0].send_signal(signal.SIGKILL)
    assert third.wait(timeout=60) == 0 and third.stdout.readline().strip() in ("fake0", "fake1")
    assert third.stderr.read() == ""
    holders[1].kill()
    for process in holders:
        process.wait()
    assert set(dict(device.holders()).values()) == {None}


def test_slots_let_runs_share_a_device(fake, monkeypatch):
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", "2")
    first = device.take_lease()
    assert first.device == "fake0" and os.environ["CUDA_VISIBLE_DEVICES"] == "fake0"
    second = device.take_lease()  # the process now sees fake0 alone, which has a second slot
    assert second.device == "fake0"
    assert [pid for _, pid in device.holders()] == [os.getpid()] * 2
    first.release()
    second.release()
    assert [pid for _, pid in device.holders()] == [None] * 2


@pytest.mark.parametrize("visible", ["", "-1"])
def test_without_a_gpu_there_is_nothing_to_lease(fake, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.take_lease() is None and device.holders() == []


def test_under_slurm_the_device_is_slurms(fake, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert device.take_lease() is None and os.environ["CUDA_VISIBLE_DEVICES"] == "fake0,fake1"


def test_no_driver_means_no_device(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert device.visible_devices() == []


def test_a_holder_that_has_not_written_its_id_yet_is_a_holder(fake):
    with open(device.slots(["fake1"])[0][1], "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for content in ("", "\n", "no number\n"):
            lock.truncate(0)
            lock.write(content)
            lock.flush()
            assert device.holders() == [("fake0", None), ("fake1", device.UNNAMED)]


@pytest.mark.parametrize("said", ["x", "0", "-1", "1.5", "²", "9" * 5000])
def test_slots_that_are_no_number_from_1_are_refused(fake, monkeypatch, said):
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", said)
    for ask in (device.take_lease, device.holders):
        with pytest.raises(ConfigError, match="set it to a whole number from 1"):
            ask()
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", "")
    assert len(device.holders()) == 2
