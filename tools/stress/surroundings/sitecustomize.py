"""What disks, clocks and power do to a process, as files in the folder $STRESS_FAULTS say. Python runs this at start.

full      a folder, and on which call its disk is full: "open" (no file can be begun) or "fsync" (its bytes do not fit)
clock     by how many seconds the clock of processes that train is wrong
rename    "before" or "after": the process that next gives a file its name is killed then; the file is removed first
"""

import datetime
import errno
import os
import signal
import sys
import time

FOLDER = os.environ.get("STRESS_FAULTS", "")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_fsync, _replace, _time, _datetime = os.fsync, os.replace, time.time, datetime.datetime


def said(name):
    """What a file says; empty if there is none."""
    try:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def refuse_if_full(path, call):
    folder, _, on = said("full").partition("\n")
    if on == call and os.path.abspath(os.fsdecode(path)).startswith(folder + "/"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def hook(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and isinstance(flags, int) and flags & WRITES:
            refuse_if_full(path, "open")


def fsync(descriptor):
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    refuse_if_full(os.readlink(f"/proc/self/fd/{number}"), "fsync")
    return _fsync(descriptor)


def replace(*arguments, **more):
    when = said("rename")
    try:
        if when:
            os.unlink(os.path.join(FOLDER, "rename"))
    except OSError:  # another process was first
        when = ""
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    _replace(*arguments, **more)
    if when == "after":
        os.kill(os.getpid(), signal.SIGKILL)


def wrong_by():
    return float(said("clock") or 0)


class AnyDatetime(type):
    """Every time is an instance of the class below, also one that C code makes."""

    def __instancecheck__(cls, value):
        return isinstance(value, _datetime)

    def __subclasscheck__(cls, other):
        return issubclass(other, _datetime)


class WrongDatetime(_datetime, metaclass=AnyDatetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds=wrong_by())


if FOLDER:
    sys.addaudithook(hook)
    os.fsync = fsync
    if "train" in sys.orig_argv:
        os.replace = replace
        time.time = lambda: _time() + wrong_by()
        datetime.datetime = WrongDatetime
