"""One run from its resolved spec to its record on disk."""

import functools
import json
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reweigh import record
from reweigh.data import load, manifest
from reweigh.data.arrays import RawData, npz_bytes
from reweigh.data.obtain import describe, obtain, recipe_digest, split_path
from reweigh.digest import canonical, digest, file_digest
from reweigh.training.checkpoint import Keeper
from reweigh.training.engine import Run

LOCK = Path("envs/requirements.lock")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.lru_cache(maxsize=1)
def _raw(dataset: str, options: str) -> RawData:
    manifest.ensure(dataset)  # a split that is there already says nothing of the bytes that are there now
    return load.read(dataset, json.loads(options))


@functools.cache
def git_state() -> dict[str, Any]:
    """The commit that is checked out and whether tracked files differ from it; None where git cannot say."""

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    status = ask("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def environment() -> dict[str, Any]:
    """Versions of what computed the numbers, and the digest of the lock file that asked for them."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "lock_digest": file_digest(LOCK) if LOCK.is_file() else None,
    }


def device_facts(device: torch.device, spec: dict[str, Any]) -> dict[str, Any]:
    """What the record says of the device. `threads` and `precision` are part of the spec: they change results."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "kind": device.type,
        "name": name,
        "threads": spec["training"]["threads"],
        "precision": spec["training"]["precision"],
    }


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def pick_device() -> torch.device:
    """The GPU that the lease made visible, else the CPU. cuDNN is asked for algorithms that sum in one order."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device("cuda")


def prepare(spec: dict[str, Any], device: torch.device) -> tuple[Run, Any]:
    """The run of a spec, ready to take its first step, and its split; fetches and draws what is missing."""
    torch.set_num_threads(spec["training"]["threads"])
    split = obtain(spec)
    data = _raw(spec["data"]["dataset"], canonical(spec["data"]["options"]).decode())
    return Run(spec, data, split, device), split


def run_key(spec: dict[str, Any], split_digest: str, device: torch.device) -> str:
    """The digest of all that a run's arithmetic depends on: the name of its checkpoint."""
    return digest([digest(spec), record.code_digest(spec), split_digest, device.type, torch.__version__])


def train_run(
    spec: dict[str, Any], device: torch.device, keeper_of: Any = Keeper, progress: Any = None
) -> dict[str, Any]:
    """Train the run of a resolved spec, going on from its checkpoint if there is one, and write its record.

    `keeper_of(key)` makes the Keeper; `progress(run)` is called after each step. Raises OutOfTime, the state saved.
    """
    started, git = now(), git_state()
    run, split = prepare(spec, device)
    keeper = keeper_of(run_key(spec, split.digest(), device))
    keeper.resume(run)

    def tick(at: Run) -> None:
        if progress:
            progress(at)
        keeper(at)

    run.finish(tick)
    path = record.record_path(record.run_name(spec))
    body = {
        "run": record.run_name(spec),
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
        "git": git,
        "environment": environment(),
        "split": {
            "path": split_path(spec).as_posix(),
            "digest": split.digest(),
            "recipe_digest": recipe_digest(spec),
            "sizes": split.sizes(),
        },
        "raw": describe(spec)["raw"],
        "device": device_facts(device, spec),
        "started": started,
        "ended": now(),
        "gpu_seconds": run.seconds if device.type == "cuda" else 0.0,
        "peak_bytes": peak_bytes(device),
        "trace": write_trace(path, run.trace()),
        **run.results(),
    }
    written = record.write(path, body)
    keeper.done()
    return written


def peak_bytes(device: torch.device) -> int:
    """The most memory held at once: allocated on the GPU, or resident in this process (with what ran in it before)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024  # kibibytes on Linux, bytes on macOS


def write_trace(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Write the logged arrays beside the record, atomically and before it; what the record says of them."""
    if not arrays:
        return None
    trace = path.with_suffix(".npz")
    trace.parent.mkdir(parents=True, exist_ok=True)
    partial = trace.with_name(f".{trace.name}.{os.getpid()}")
    partial.write_bytes(npz_bytes(arrays))
    os.replace(partial, trace)
    return {
        "file": trace.name,
        "sha256": file_digest(trace),
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
