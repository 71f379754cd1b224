"""Folders in which something is made: gone when it is made, fails or is stopped, and if it was killed, the next time.

The process that uses one holds a lock on a file in it, so that another can tell a folder in use from a leftover.
"""

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reweigh import locks
from reweigh.canonical_json import LEFTOVER_SECONDS

LOCK = "in-use"
RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile puts behind a prefix


@contextlib.contextmanager
def work_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that begins with `prefix`, and removed at the end; leftovers of its kind are removed."""
    _remove_leftovers(prefix, parent)
    made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    with made as work, open(Path(work, LOCK), "w", encoding="utf-8") as lock:
        with contextlib.suppress(locks.NoLocks):  # leftovers are then told by their age
            locks.take(lock)
        yield Path(work)


def _remove_leftovers(prefix: str, parent: Path) -> None:
    """Remove folders of killed processes: those whose lock is free, and old ones that have none."""
    for folder in parent.iterdir():
        if folder.name.startswith(prefix) and RANDOM.fullmatch(folder.name.removeprefix(prefix)):
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                if folder.is_dir() and not folder.is_symlink() and _is_left(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    old = time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS
    try:
        with open(folder / LOCK, encoding="utf-8") as lock:
            return locks.take(lock)
    except (FileNotFoundError, locks.NoLocks):  # of an older version, or just being made; or no lock can tell
        return old
