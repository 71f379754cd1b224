"""Folders that are filled once a test run, whichever worker of pytest-xdist comes first; the others read them.

with_grid = shared.folder(tmp_path_factory, "grid", lambda folder: ...)    # in a fixture of scope session or module

A shared folder is read by several processes at the same time: a test that changes anything takes a copy of it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


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
    return place
