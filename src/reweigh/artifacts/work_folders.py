"""Folders in which something is made: gone when it is made, fails or is stopped, and if it was killed, the next time.

The process that uses one holds a lock on a file in it, so that another can tell a folder in use from a leftover.
"""

import contextlib
import fcntl
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reweigh.canonical_json import LEFTOVER_SECONDS
from reweigh.records import kept

LOCK = "in-use"
RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile puts behind a prefix


@contextlib.contextmanager
def work_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that begins with `prefix`, and removed at the end; leftovers of its kind are removed."""
    _remove_leftovers(prefix, parent)
    made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    with made as work, open(Path(work, LOCK), "w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: leftovers are then told by their age
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        with open(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # of an older version, or just being made
        return old
    except OSError as error:
        return old and not kept.in_use(error)
    return True
