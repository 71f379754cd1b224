"""Locks between processes: `flock` on an open file. The kernel frees one when its process ends, however it ends.

Some network disks have none (Lustre mounted without `flock`, NFS without its lock service). Then `take` raises NoLocks,
a line with the remedy. Where a second process would only do the same work twice, callers catch it and go on
(`without`); where it would do harm, nothing catches it.
"""

import errno
import fcntl
import functools
import os
import sys
from pathlib import Path
from typing import IO, Any

from reweigh.errors import ReweighError
from reweigh.terminal import printable

NONE = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
TAKEN = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
REMEDY = "mount it with locks (Lustre: -o flock; NFS: version 4, or local_lock=flock for one machine)"


class NoLocks(ReweighError):
    """The disk of a file has no locks."""


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
