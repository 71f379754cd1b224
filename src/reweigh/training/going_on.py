"""What lies in `.reweigh` only saves time. Where its disk takes no more, training says so and goes on without.

So for checkpoints, for what runs share, and for the locks of both. Not if the record could not be written either: then
all the training would be in vain.
"""

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reweigh import os_errors
from reweigh.records.record import record_path

REFUSED = os_errors.DISK | {errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
RECORD_BYTES = 2**18  # as much as a record and its arrays mostly take
_told: set[str] = set()


@contextlib.contextmanager
def without(what: str, run: str) -> Iterator[None]:
    """Go on after this block if the disk refuses what it writes. `what` is then not there, which is said once.

    Raises the error if the record of the run would be refused as well.
    """
    try:
        yield
    except OSError as error:
        check(error, what, run)


def check(error: OSError, what: str, run: str) -> None:
    """Raise the error if a run cannot go on without `what` it has just refused to take; else say so, once."""
    if error.errno not in REFUSED:
        raise error
    _check_record(run)
    if what not in _told:
        _told.add(what)
        reason = os_errors.in_words(error) or f"{os_errors.place(error)}: {error.strerror}"
        print(f"{reason}; going on without {what}", file=sys.stderr)


def _check_record(run: str) -> None:
    """Raise OSError, which names the record, if it could not be written now."""
    path = record_path(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(RECORD_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename, error.filename2 = os.fspath(Path(path)), None
        raise
