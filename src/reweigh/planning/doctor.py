"""What this machine has: versions, devices and who holds them, space. Asks nothing of the network."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from reweigh.digest import file_digest
from reweigh.training.device import holders

LOCK = Path("envs/requirements.lock")
LIBRARIES = ("torch", "torchvision", "numpy", "snakemake", "papermill", "pydantic")


def facts() -> Iterator[tuple[str, str]]:
    """Pairs of what was looked at and what was found, in the order in which a person would ask."""
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    locked = _locked()
    for name in LIBRARIES:
        yield name, _version(name, locked.get(name))
    yield "lock", file_digest(LOCK)[:12] if LOCK.is_file() else f"{LOCK} is missing"
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    slots = holders()
    for device, process in slots:
        yield f"GPU {device}", "free" if process is None else f"held by process {process}"
    if not slots:
        yield "GPU", "none; training takes the CPU"
    yield "free space here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB"
    mirror = os.environ.get("REWEIGH_MIRROR")
    yield "REWEIGH_MIRROR", _mirror(mirror) if mirror else "not set"


def _locked() -> dict[str, str]:
    """Versions that the lock names, by package (those for this Python, where the lock has several)."""
    found: dict[str, str] = {}
    for line in LOCK.read_text().splitlines() if LOCK.is_file() else ():
        name, _, rest = line.partition("==")
        found.setdefault(name, rest.partition(" ")[0])
    return found


def _version(name: str, locked: str | None) -> str:
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed; run: make setup"
    return installed if locked in (None, installed) else f"{installed}, the lock says {locked}"


def _mirror(mirror: str) -> str:
    there = mirror.startswith(("http://", "https://")) or Path(mirror.removeprefix("file://")).is_dir()
    return mirror if there else f"{mirror}, which is no folder"
