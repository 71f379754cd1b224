"""Folders that are filled once a test run, whichever worker of pytest-xdist comes first; the others read them.

with_grid = shared.folder(tmp_path_factory, "grid", lambda folder: ...)    # in a fixture of scope session or module

A shared folder is read by several processes at the same time: a test that changes anything takes a copy of it. One that
does not is found, by what `changed` says after it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

USED: dict[Path, dict[str, tuple[int, int]]] = {}  # folders that this process uses, and the files in them
NO_CONTENT = {"__pycache__", ".snakemake", ".pytest_cache", ".ipynb_checkpoints"}


def folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """The folder of this name, filled by the first who asks. `fill` gets it empty, under its last path."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own in that of the whole run
    place, full = base / "shared" / name, base / "shared" / f"{name}.full"
    place.parent.mkdir(exist_ok=True)
    with FileLock(base / "shared" / f"{name}.lock"):
        if not full.exists():
            shutil.rmtree(place, ignore_errors=True)  # what a worker that failed has left
            place.mkdir()
            fill(place)
            full.touch()
        USED.setdefault(place, _files(place))
    return place


def changed() -> list[str]:
    """The files of shared folders that are new, gone or other ones since the last call."""
    found = []
    for place, before in USED.items():
        USED[place] = _files(place)
        found += [f"{place.name}/{name}" for name, _ in sorted(before.items() ^ USED[place].items())]
    return sorted(set(found))


def _files(place: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file below a folder."""
    files = {}
    for folder, inside, names in os.walk(place):
        inside[:] = [name for name in inside if name not in NO_CONTENT]
        for name in names:
            stat = os.lstat(os.path.join(folder, name))
            files[os.path.relpath(os.path.join(folder, name), place)] = stat.st_size, stat.st_mtime_ns
    return files
