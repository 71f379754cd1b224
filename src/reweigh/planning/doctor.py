"""What this machine has: versions, devices and who holds them, disk space. Uses no network."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from reweigh.data.download import shown
from reweigh.data.manifest import mirror_of
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, ReweighError
from reweigh.training import slurm, variables
from reweigh.training.device import UNNAMED, holders

LOCK = Path("envs/requirements.lock")
PLUGIN = "snakemake-executor-plugin-slurm"
PROFILE = Path("profiles/slurm/profile.yaml")
LEAST_MEMORY = 120  # seconds for which squeue must remember a job that is over (MinJobAge), or Snakemake misses its end
LIBRARIES = ("torch", "torchvision", "numpy", "snakemake", "papermill", "pydantic")


def facts() -> Iterator[tuple[str, str]]:
    """Pairs of a name and what was found: software first, then hardware."""
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    locked = _locked()
    for name in LIBRARIES:
        yield name, _version(name, locked.get(name))
    yield "lock", file_digest(LOCK)[:12] if locked else f"{LOCK} {_no_lock()}; restore it: git checkout {LOCK}"
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        leases = holders()
        for device, process in leases:
            yield f"GPU {device}", _holder(process)
        if not leases:
            yield "GPU", "none; training uses the CPU"
    except ReweighError as error:  # the disk of the locks has none, or their folder is another's
        yield "GPU", str(error)
    yield "torch and CUDA", _cuda()
    yield from _slurm()
    yield "free space here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB"
    mirror = os.environ.get("REWEIGH_MIRROR")
    yield "REWEIGH_MIRROR", _mirror(mirror) if mirror else "not set"
    try:
        variables.check()
    except ConfigError as error:
        yield "environment", str(error)


def _cuda() -> str:
    """Whether torch can use CUDA; asked in another process, since CUDA reads the visible devices once."""
    code = "import torch; print(torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, encoding="utf-8"
        )
        built, usable, count = done.stdout.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return "torch cannot be imported"
    if built == "None":
        return "this torch is built without CUDA"
    return f"CUDA {built}, {count} devices" if usable == "True" else f"built for CUDA {built}; finds no device"


def _slurm() -> Iterator[tuple[str, str]]:
    """The plugin, and of a cluster its partitions with their limits, and what would keep jobs from running."""
    if not shutil.which("sinfo"):
        yield "Slurm", "none here"
        return
    plugin = importlib.util.find_spec(PLUGIN.replace("-", "_"))
    yield "Slurm plugin", _version(PLUGIN, None) if plugin else f"{PLUGIN} is not installed; run: make setup"
    said = slurm.ask("sinfo", "--noheader", "--format", "%P|%a|%l|%D|%c|%m|%G")
    if said is None:
        yield "partitions", "sinfo does not answer"
        return
    asked = _runtime()
    for line in dict.fromkeys(said.splitlines()):
        if line.count("|") != 6:
            yield "partitions", f"sinfo says what is not understood here: {line[:80]}"
            continue
        name, state, limit, nodes, cores, memory, gres = line.split("|")
        most = slurm.duration(limit)
        over = most is not None and asked is not None and 60 * asked > most
        yield (
            f"partition {name}",
            (
                f"{state}, up to {limit}, {nodes} nodes of {cores} cores and {memory} MB, GPUs: {gres}"
                + (
                    f"; {PROFILE} asks for {asked} minutes: such a job would wait for ever; lower runtime there"
                    if over
                    else ""
                )
            ),
        )
    config = slurm.ask("scontrol", "show", "config") or ""
    if (found := re.search(r"MinJobAge\s*=\s*(\d+)", config)) and int(found[1]) < LEAST_MEMORY:
        yield "MinJobAge", f"{found[1]} s; with less than {LEAST_MEMORY}, set slurm-status-command: sacct in {PROFILE}"


def _runtime() -> int | None:
    """The longest runtime that the profile asks for, in minutes; None if it says none in minutes."""
    import yaml

    try:
        said = yaml.safe_load(PROFILE.read_text(encoding="utf-8")) if PROFILE.is_file() else {}
        blocks = [said.get("default-resources") or {}, *(said.get("set-resources") or {}).values()]
        return max((block["runtime"] for block in blocks if type(block.get("runtime")) is int), default=None)
    except (
        OSError,
        ValueError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ):  # Snakemake will say what is wrong with it
        return None


def _holder(process: int | None) -> str:
    if process is None:
        return "free"
    return "held by a process that has not said which" if process == UNNAMED else f"held by process {process}"


def _locked() -> dict[str, str]:
    """The versions in the lock file by package; the first, where the lock has several. Empty if it is no lock file."""
    versions: dict[str, str] = {}
    try:
        lines = LOCK.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        if pinned := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][^\s;\\]*)", line):
            versions.setdefault(pinned[1], pinned[2])
    return versions


def _no_lock() -> str:
    """Why there are no versions in the lock file."""
    if not LOCK.is_file():
        return "is missing"
    return "names no version of a package" if LOCK.stat().st_size else "is empty"


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
