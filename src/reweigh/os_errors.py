"""Errors of the operating system that a user can act on, in one line: where, what it means, what to do.

A disk that is full or read-only, a folder of somebody else, a limit of the shell: none of them is a fault of the
program, and a traceback would hide the one thing to be done. Other errors of the system keep their traceback.
"""

import contextlib
import errno
import os
import resource
import sys

from reweigh.errors import RecordError
from reweigh.terminal import printable

# What the disk says where no file on it can be written any more: whoever goes on with another file only loses time.
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})

# Errors of one process or machine: they say nothing about a file or a server.
LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG})

# Errors that keep a file from being looked at: they say nothing of what it holds.
HIDING = DISK | LIMITS | {
    errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT,
}  # fmt: skip

LITTLE_MEMORY = 2 << 30  # bytes; an audit of thousands of records takes half of it, training some more

_MEANING = {
    errno.ENOSPC: ("the disk is full", "free some space (`df -h` and `df -i` show it)"),
    errno.EDQUOT: ("your quota on this disk is used up", "free some space (`quota -s` shows it)"),
    errno.EROFS: ("the disk is read-only", "work in a copy on one that can be written, or mount it again"),
    errno.EACCES: ("not allowed", "have its owner allow it (`ls -ld` shows who may), or work in a copy of your own"),
    errno.EPERM: ("not allowed", "have its owner allow it (`lsattr -d` and `ls -ld` show why), or work in a copy"),
    errno.EMFILE: ("this process may open no more files", "raise its limit: ulimit -n 1024"),
    errno.ENFILE: ("this machine has no more open files to give", "close other programs, or ask its administrator"),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "choose a shorter one"),
    errno.EIO: ("the disk failed to read or write", "look into the kernel's messages (`dmesg`), and copy what matters"),
    errno.ESTALE: ("the network disk has lost this file", "do the same again; mount the disk again if that fails"),
    errno.EFBIG: ("a file may not become so large", "raise the limit of this shell: ulimit -f unlimited"),
    errno.ENOMEM: ("there is no memory left", "close other programs, or raise the limit: ulimit -v unlimited"),
    errno.EAGAIN: ("no further process or thread may be started", "close other programs, or raise: ulimit -u"),
    errno.ENOTDIR: ("a part of this path is a file and no folder", "move that file away"),
    errno.EISDIR: ("this is a folder and no file", "move it away, or name a file"),
    errno.ELOOP: ("links lead in a circle here", "remove one of them"),
    errno.ENOTCONN: ("the network disk is not connected", "mount it again"),
    errno.EHOSTDOWN: ("the machine of the network disk does not answer", "wait for it, then do the same again"),
    errno.ETIMEDOUT: ("the network disk does not answer", "wait for it, then do the same again"),
}


def in_words(error: BaseException) -> str | None:
    """One line about an error that the machine is to blame for, and its remedy; None for any other error.

    >>> in_words(OSError(errno.ENOSPC, "No space left on device", "results/a.json"))
    'results/a.json: the disk is full; free some space (`df -h` and `df -i` show it)'
    """
    if isinstance(error, MemoryError):
        return "there is no memory left; close other programs, or raise the limit: ulimit -v unlimited"
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return f"there is no memory left to load {error.name or 'a library'}; raise the limit: ulimit -v unlimited"
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):  # what tempfile says
        return "there is no folder for temporary files; let TMPDIR be one that you may write to"
    if not isinstance(error, OSError) or error.errno not in _MEANING:
        return None
    what, remedy = _MEANING[error.errno]
    where = place(error)
    return f"{where}: {what}; {remedy}" if where else f"{what}; {remedy}"


def warn_of_little_memory() -> None:
    """Say on stderr that this process may have little memory, if it may.

    Of some libraries nothing else would: OpenBLAS ends the process in words of its own, which name no remedy.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most < LITTLE_MEMORY:
        with contextlib.suppress(OSError):
            size = f"{most / 2**30:.1f} GiB"
            print(f"this shell allows {size} of memory; if that is too little: ulimit -v unlimited", file=sys.stderr)


def place(error: OSError) -> str:
    """The path that an error of the system is about, safe to print; empty if it names none."""
    path = error.filename2 or error.filename  # of a renaming: where to
    return printable(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""


class UnseenError(RecordError):
    """The system lets nobody look at a file, so that nothing is known of it: it may be sound."""


def hides(error: BaseException) -> bool:
    """Whether an error of the system keeps a file from being looked at, and says nothing of what it holds."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):  # what tempfile says
        return True
    return isinstance(error, OSError) and error.errno in HIDING


def unseen(error: OSError, path: str | os.PathLike[str] | None = None) -> UnseenError:
    """What to raise instead of an error that hides a file, with the system's reason in words.

    >>> str(unseen(OSError(errno.EMFILE, "Too many open files"), "results/a.json"))
    'cannot look: results/a.json: this process may open no more files; raise its limit: ulimit -n 1024'
    """
    if path is not None and not error.filename:
        error.filename = os.fspath(path)
    return UnseenError(f"cannot look: {in_words(error) or error}")


def is_of_the_disk(error: BaseException) -> bool:
    """Whether the disk or a limit of this process is to blame: no other file, source or run would fare better."""
    return isinstance(error, OSError) and error.errno in DISK | LIMITS
