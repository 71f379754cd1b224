"""Locks between processes: `flock` on an open file. The kernel frees one when its process ends, however it ends.

Some network disks have none (Lustre mounted without `flock`, NFS without its lock service). Then `take` raises NoLocks,
a line with the remedy. Where a second process would only do the same work twice, callers catch it and go on
(`without`); where it would do harm, nothing catches it.

A lock file is `opened` so that no other comes to harm: a link that somebody put in its place is not followed, and what
has two names is not written to.
"""

import contextlib
import errno
import fcntl
import functools
import os
import stat
import sys
from pathlib import Path
from typing import IO, Any

from reweigh.errors import ReweighError
from reweigh.terminal import printable

NONE = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
TAKEN = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
MOST = 2**20  # letters of what a lock file says
REMEDY = "mount it with locks (Lustre: -o flock; NFS: version 4, or local_lock=flock for one machine)"


class NoLocks(ReweighError):
    """The disk of a file has no locks."""


class NotALock(ReweighError):
    """What stands where a lock file should be is something else."""


def opened(path: Path, create: bool = True) -> IO[str]:
    """The lock file at `path`, open to read and write, made if there is none; without `create` FileNotFoundError.

    Raises NotALock for a link, a folder, a pipe.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise NotALock(f"{printable(path)}: no lock but a link, a folder or a pipe; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise NotALock(f"{printable(path)}: no lock but a pipe or a device; remove it")
    return open(path, "r+", encoding="utf-8", errors="replace", opener=lambda *_: number)


def own_folder(path: Path) -> Path:
    """A folder for lock files that is this user's alone; made if there is none. Others may have made one of its name.

    Raises NotALock if it is a link or another's, or others may write there: they could keep everybody waiting.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotALock(
            f"{printable(path)}: no folder that you alone may write to; remove it, or set TMPDIR to a folder of yours"
        )
    return path


def tell(file: IO[str], text: str) -> None:
    """Have a lock file, which this process holds, say `text`: who that is, for whoever asks (`told`).

    Not one that has another name too: it may be somebody's file that was given this one. A full disk takes nothing.
    """
    if os.fstat(file.fileno()).st_nlink == 1:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), text.encode(errors="replace"), 0)


def told(file: IO[str]) -> str:
    """What a lock file says; empty if its holder has not said anything yet."""
    file.seek(0)
    return file.read(MOST)


def take(file: IO[Any], wait: bool = False, shared: bool = False) -> bool:
    """Whether the lock of an open file is this process's now; False: another has it. It is freed when the file closes.

    `wait` for it: then the answer is True. `shared`: with others who share it. Raises NoLocks where there are none.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NONE:
            folder = Path(file.name).parent
            raise NoLocks(
                f"{printable(folder)}: its disk has no locks ({error.strerror}); {REMEDY}, or use one of this machine"
            ) from None
        if error.errno in TAKEN and not wait:
            return False
        error.filename = file.name
        raise
    return True


def is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is the one at `path`: whoever held the lock may have removed it since it was opened."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@functools.cache
def without(missing: str, what: str) -> None:
    """Say once that work goes on without a lock; `missing` is the text of NoLocks, `what` the harm that may come."""
    print(f"{missing}; going on without: {what}", file=sys.stderr)
