"""The device that a process trains on: Snakemake counts GPUs, a lease assigns them.

A lease is a `flock` on one file per device slot, held for the life of the process; the kernel drops it when the process
ends, however it ends. Take it before torch is imported, because CUDA reads CUDA_VISIBLE_DEVICES once.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reweigh import locks
from reweigh.errors import ConfigError, TrainingError
from reweigh.training import slurm

WAIT_SECONDS = 0.2
VISIBLE = "CUDA_VISIBLE_DEVICES"
SLOTS = "REWEIGH_SLOTS_PER_DEVICE"
HANDED_ON = (
    "REWEIGH_LEASE"  # in the environment: the descriptor of a lock that the process which started this one holds
)
DRIVERS = ("nvidia[0-9]*", "nvidiactl", "dxg", "kfd")  # in /dev, where a driver of GPUs is loaded
DEVICE = r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+"  # what CUDA takes as the name of a device
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # the ids by which schedulers tell a job which one it is
UNNAMED = 0  # in place of a process id: one that holds a slot, and has not written its id yet


@dataclass(frozen=True)
class Lease:
    """A slot that is held. `device` is now in CUDA_VISIBLE_DEVICES; `lock` is open as long as the lease is held.

    `inherited` is what that variable was before: what another process needs to take a lease of its own. `lock` is None
    where the process that started this one holds the slot for it.
    """

    device: str
    lock: IO[str] | None
    inherited: Mapping[str, str | None]

    def release(self) -> None:
        """Release the slot before the process ends."""
        if self.lock is not None:
            self.lock.close()

    def hand_on(self) -> None:
        """Have the processes that this one starts train under this lease, and take none of their own."""
        if self.lock is not None:
            os.environ[HANDED_ON] = str(self.lock.fileno())

    def take_back(self) -> None:
        """Undo `hand_on`, and leave CUDA_VISIBLE_DEVICES as it was before the lease."""
        for name, value in {HANDED_ON: None, **self.inherited}.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def handed_on() -> tuple[int, ...]:
    """What a process that is started under the lease of this one needs as `pass_fds`: with it the slot is held as long
    as any of them lives."""
    said = os.environ.get(HANDED_ON, "")
    try:
        os.fstat(int(said))
    except (ValueError, OSError):  # there is no lease, or its descriptor was not passed
        return ()
    return (int(said),)


def visible_devices() -> list[str]:
    """The devices that this process may use: those of CUDA_VISIBLE_DEVICES, else those that nvidia-smi lists.

    CUDA takes that list up to the first name that none can have: `-1`, `none`, Slurm's `NoDevFiles`. And whatever it
    says, a machine without a GPU has none.
    """
    inherited = os.environ.get(VISIBLE)
    if inherited is None:
        return _listed()
    named = (device.strip() for device in inherited.split(","))
    devices = list(itertools.takewhile(lambda device: re.fullmatch(DEVICE, device, re.ASCII), named))
    return devices if devices and _has_gpu() else []


def _listed() -> list[str]:
    """The numbers of the devices that nvidia-smi lists."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True, encoding="utf-8"
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def _has_gpu() -> bool:
    """Whether this machine has a GPU, by the files of its driver or by nvidia-smi."""
    return any(next(Path("/dev").glob(name), None) for name in DRIVERS) or bool(_listed())


def job_id() -> str | None:
    """The id of the scheduler's job that this process belongs to; None outside of jobs."""
    return next((os.environ[name] for name in JOBS if os.environ.get(name)), None)


def lock_folder() -> Path:
    """The folder of the lock files: on this machine's own disk, one for each user, and for each job that has devices.

    A scheduler may number the devices of each job from 0: device 0 of one job is not that of another. Raises
    `locks.NotALock` if another user has made one of its name.
    """
    job = job_id() if VISIBLE in os.environ else None
    named = f"-job-{re.sub('[^0-9A-Za-z_.-]', '_', job)}" if job else ""
    return locks.own_folder(Path(tempfile.gettempdir()) / f"reweigh-leases-{os.getuid()}{named}")


def slots_per_device() -> int:
    """How many processes may share a device: $REWEIGH_SLOTS_PER_DEVICE, by default 1.

    Raises ConfigError if that is no number from 1.
    """
    said = os.environ.get(SLOTS, "").strip() or "1"
    if not re.fullmatch(r"[1-9][0-9]{0,3}", said):
        raise ConfigError(f"{SLOTS}={said}: set it to a whole number from 1, or unset it")
    return int(said)


def slots(devices: list[str]) -> list[tuple[str, Path]]:
    """All slots as (device, lock file). Raises the error of `slots_per_device`."""
    return [
        (device, lock_folder() / f"{device.replace('/', '_')}.{slot}")
        for slot in range(slots_per_device())
        for device in devices
    ]


def take_lease(seconds: float | None = None) -> Lease | None:
    """Wait for a free device and hold it: no other is visible then. None without a GPU.

    Under a scheduler, too: two trainings in one job share what the job has. The lease of the process that started this
    one is as good (`Lease.hand_on`). Raises TrainingError if no device becomes free in so many `seconds`.
    """
    devices = visible_devices()
    if not devices:
        return None
    if HANDED_ON in os.environ:
        return Lease(devices[0], None, {VISIBLE: os.environ.get(VISIBLE)})
    waited, end = False, None if seconds is None else time.monotonic() + seconds
    while True:
        for device, path in slots(devices):
            lock = locks.opened(path)
            if not _taken(lock):
                lock.close()
                continue
            locks.tell(lock, str(os.getpid()))
            inherited = {VISIBLE: os.environ.get(VISIBLE)}
            os.environ[VISIBLE] = device
            return Lease(device, lock, inherited)
        if not waited:
            print(f"waiting for one of {len(devices)} devices; `reweigh doctor` shows who holds them", file=sys.stderr)
            waited = True
        if end is not None and time.monotonic() >= end:
            raise TrainingError(f"no device became free in {seconds:.0f} s; `reweigh doctor` shows who holds them")
        time.sleep(WAIT_SECONDS)


def check_used(lease: Lease | None, used: str, asked: bool) -> None:
    """Raise TrainingError, which names the machine, if a GPU was leased or `asked` for, and `used` is not `cuda`."""
    if used == "cuda" or (lease is None and not asked):
        return
    here, visible = slurm.where(), os.environ.get(VISIBLE)
    said = f"{VISIBLE} is {visible!r}" if visible is not None else f"{VISIBLE} is not set, and nvidia-smi lists none"
    what = f"torch cannot use GPU {lease.device}" if lease else f"there is no GPU, though one was asked for ({said})"
    raise TrainingError(
        f"{here}: {what}; `reweigh doctor` there shows why. To train on the processor, ask for it: device: cpu in "
        f"config/config.yaml, or {VISIBLE}= before the command"
    )


def _taken(lock: IO[str]) -> bool:
    """`locks.take`, with what to do where there are none: two processes that share a device would not know of it."""
    try:
        return locks.take(lock)
    except locks.NoLocks as missing:
        raise TrainingError(f"{missing}: set TMPDIR to a folder on this machine's own disk") from None


def holders() -> list[tuple[str, int | None]]:
    """Each slot's device with the process that holds it (maybe `UNNAMED`), or None if it is free."""
    held: list[tuple[str, int | None]] = []
    for device, path in slots(visible_devices()):
        with locks.opened(path) as lock:
            if _taken(lock):
                held.append((device, None))
            else:
                named = re.match(r"[0-9]{1,10}\b", locks.told(lock))
                held.append((device, int(named[0]) if named else UNNAMED))
    return held
