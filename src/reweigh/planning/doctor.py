"""What this machine has: versions, devices and who holds them, disk space. Uses no network."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from reweigh.data.download import shown
from reweigh.data.manifest import mirror_of
from reweigh.digest import file_digest
from reweigh.errors import TrainingError
from reweigh.training.device import UNNAMED, holders

LOCK = Path("envs/requirements.lock")
LIBRARIES = ("torch", "torchvision", "numpy", "snakemake", "papermill", "pydantic")


def facts() -> Iterator[tuple[str, str]]:
    """Pairs of a name and what was found: software first, then hardware."""
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    locked = _locked()
    for name in LIBRARIES:
        yield name, _version(name, locked.get(name))
    yield "lock", file_digest(LOCK)[:12] if LOCK.is_file() else f"{LOCK} is missing"
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        leases = holders()
        for device, process in leases:
            yield f"GPU {device}", _holder(process)
        if not leases:
            yield "GPU", "none; training uses the CPU"
    except TrainingError as error:  # the disk of the locks has none
        yield "GPU", str(error)
    yield "free space here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB"
    mirror = os.environ.get("REWEIGH_MIRROR")
    yield "REWEIGH_MIRROR", _mirror(mirror) if mirror else "not set"


def _holder(process: int | None) -> str:
    if process is None:
        return "free"
    return "held by a process that has not said which" if process == UNNAMED else f"held by process {process}"


def _locked() -> dict[str, str]:
    """The versions in the lock file by package; the first, where the lock has several."""
    versions: dict[str, str] = {}
    for line in LOCK.read_text(encoding="utf-8").splitlines() if LOCK.is_file() else ():
        name, _, rest = line.partition("==")
        versions.setdefault(name, rest.partition(" ")[0])
    return versions


def _version(name: str, locked: str | None) -> str:
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed; run: make setup"
    return installed if locked in (None, installed) else f"{installed}, the lock says {locked}"


def _mirror(mirror: str) -> str:
    place = mirror_of(mirror)
    exists = place is None or isinstance(place, str) or place.is_dir()
    return shown(mirror) if exists else f"{shown(mirror)}, which is not a folder"
