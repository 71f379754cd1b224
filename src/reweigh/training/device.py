"""The device that a process trains on: Snakemake counts GPUs, a lease assigns them.

A lease is a `flock` on one file per device slot, held for the life of the process; the kernel drops it when the process
ends, however it ends. Take it before torch is imported, because CUDA reads CUDA_VISIBLE_DEVICES once.
"""

import fcntl
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

from reweigh.errors import ConfigError

WAIT_SECONDS = 0.2
VISIBLE = "CUDA_VISIBLE_DEVICES"
SLOTS = "REWEIGH_SLOTS_PER_DEVICE"
UNNAMED = 0  # in place of a process id: one that holds a slot, and has not written its id yet


@dataclass(frozen=True)
class Lease:
    """A slot that is held. `device` is now in CUDA_VISIBLE_DEVICES; `lock` is open as long as the lease is held.

    `inherited` is what that variable was before: what another process needs to take a lease of its own.
    """

    device: str
    lock: IO[str]
    inherited: Mapping[str, str | None]

    def release(self) -> None:
        """Release the slot before the process ends."""
        self.lock.close()


def visible_devices() -> list[str]:
    """The devices that this process may use: those of CUDA_VISIBLE_DEVICES, else those that nvidia-smi lists."""
    inherited = os.environ.get(VISIBLE)
    if inherited is not None:
        return [device.strip() for device in inherited.split(",") if device.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def lock_folder() -> Path:
    """The folder of the lock files: on this machine's own disk, one for each user."""
    folder = Path(tempfile.gettempdir()) / f"reweigh-leases-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


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


def take_lease() -> Lease | None:
    """Wait for a free device and hold it: no other is visible then. None without a GPU, or where Slurm assigns it."""
    devices = visible_devices()
    if not devices or "SLURM_JOB_ID" in os.environ:
        return None
    waited = False
    while True:
        for device, path in slots(devices):
            lock = open(path, "a+")  # noqa: SIM115 - the lease owns the file
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            inherited = {VISIBLE: os.environ.get(VISIBLE)}
            os.environ[VISIBLE] = device
            return Lease(device, lock, inherited)
        if not waited:
            print(f"waiting for one of {len(devices)} devices; `reweigh doctor` shows who holds them", file=sys.stderr)
            waited = True
        time.sleep(WAIT_SECONDS)


def holders() -> list[tuple[str, int | None]]:
    """Each slot's device with the process that holds it (maybe `UNNAMED`), or None if it is free."""
    held: list[tuple[str, int | None]] = []
    for device, path in slots(visible_devices()):
        with open(path, "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append((device, None))
            except BlockingIOError:
                lock.seek(0)
                named = re.match(r"[0-9]{1,10}\b", lock.read())
                held.append((device, int(named[0]) if named else UNNAMED))
    return held
