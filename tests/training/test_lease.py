"""Device leases with fake devices and real processes: never two on one slot, and a killed holder frees its slot."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from support import pretended_gpus, project
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
    path = pretended_gpus.path(tmp_path)
    changes = {"CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path), "PATH": path}
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
    assert {process.stdout.readline().strip() for process in holders} == {"0", "1"}
    shown = dict(device.holders())
    assert set(shown.values()) == {process.pid for process in holders}
    third = hold(fake, 0)
    assert "waiting for one of 2 devices" in third.stderr.readline()
    time.sleep(0.5)
    assert third.poll() is None, "a third process must wait"
    holders[0].send_signal(signal.SIGKILL)
    assert third.wait(timeout=60) == 0 and third.stdout.readline().strip() in ("0", "1")
    assert third.stderr.read() == ""
    holders[1].kill()
    for process in holders:
        process.wait()
    assert set(dict(device.holders()).values()) == {None}


def test_slots_let_runs_share_a_device(fake, monkeypatch):
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", "2")
    first = device.take_lease()
    assert first.device == "0" and os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    second = device.take_lease()  # the process now sees 0 alone, which has a second slot
    assert second.device == "0"
    assert [pid for _, pid in device.holders()] == [os.getpid()] * 2
    first.release()
    second.release()
    assert [pid for _, pid in device.holders()] == [None] * 2


@pytest.mark.parametrize("visible", ["", " ", "-1", "none", "NoDevFiles", "void", "-1,0", "all"])
def test_without_a_gpu_there_is_nothing_to_lease(fake, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.take_lease() is None and device.holders() == []


def test_the_list_of_devices_ends_where_cuda_ends_it(fake, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,-1,0")
    assert device.visible_devices() == ["1", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]


@pytest.mark.parametrize("visible", ["0", "0,1", "GPU-8932f937"])
def test_a_machine_without_a_gpu_has_none_whatever_the_environment_says(monkeypatch, tmp_path, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(device, "DRIVERS", ("no-such-driver*",))
    assert device.visible_devices() == [] and device.take_lease() is None


def test_a_scheduler_s_job_leases_what_it_was_given(fake, monkeypatch):
    """Slurm numbers the devices of each job from 0, where cgroups hide the others: a lease is of the job's own."""
    held = []
    for job, expected in (("4711", "0"), ("4711", "1"), ("4712", "0")):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        held.append(device.take_lease())
        assert held[-1].device == os.environ["CUDA_VISIBLE_DEVICES"] == expected
        assert device.lock_folder().name.endswith(f"-job-{job}")
    for lease in held:
        lease.release()


def test_a_job_without_devices_of_its_own_shares_the_machine_s(fake, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "job" not in device.lock_folder().name


def test_a_gpu_that_cannot_be_used_is_an_error_that_names_the_machine(fake, tmp_path):
    """torch finds none here, whatever nvidia-smi and the scheduler say."""
    folder = project.make(tmp_path / "project", tmp_path)
    spec = project.spec_file(folder, project.TRAINED[0])
    asked = {
        "0": "torch cannot use GPU 0",
        "": "there is no GPU, though one was asked for (CUDA_VISIBLE_DEVICES is '')",
    }
    for visible, said in asked.items():
        command = project.command(spec, "--gpu")
        where = {**fake, "CUDA_VISIBLE_DEVICES": visible, "SLURM_JOB_ID": "4711", "SLURM_RESTART_COUNT": "2"}
        done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"reweigh: {socket.gethostname()}, Slurm job 4711, restart 2: {said}")


def test_no_driver_means_no_device(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert device.visible_devices() == []


def test_a_holder_that_has_not_written_its_id_yet_is_a_holder(fake):
    with open(device.slots(["1"])[0][1], "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for content in ("", "\n", "no number\n"):
            lock.truncate(0)
            lock.write(content)
            lock.flush()
            assert device.holders() == [("0", None), ("1", device.UNNAMED)]


@pytest.mark.parametrize("said", ["x", "0", "-1", "1.5", "²", "9" * 5000])
def test_slots_that_are_no_number_from_1_are_refused(fake, monkeypatch, said):
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", said)
    for ask in (device.take_lease, device.holders):
        with pytest.raises(ConfigError, match="set it to a whole number from 1"):
            ask()
    monkeypatch.setenv("REWEIGH_SLOTS_PER_DEVICE", "")
    assert len(device.holders()) == 2
