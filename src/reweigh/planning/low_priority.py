"""Taking only the time that nobody else on the machine wants."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOWEST = 19  # the niceness of the lowest priority
AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")
OWN_AUTOGROUP = Path("/proc/self/autogroup")
TRIES, PAUSE_SECONDS = 50, 0.1
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def give_way(nice: int = LOWEST) -> None:
    """Take only the processor and disk time that nobody else wants; the processes that this one starts do too.

    `nice` is how much it gives way, from 0 (not at all) to 19.
    """
    os.nice(nice)
    if nice == LOWEST and (ionice := shutil.which("ionice")):
        subprocess.run([ionice, "--class", "3", "--pid", str(os.getpid())], capture_output=True, check=False)
    if _sessions_compete() and _leads_a_session():
        _set_niceness_of_the_session(nice)


def in_a_session_of_its_own(work: Callable[[], int]) -> int:
    """Do some work in a child process with a session of its own where that is needed to give way; its exit code.

    Linux may share the processor between sessions first (autogroups), and niceness then counts within one alone: beside
    a program in another terminal the work would take half. The niceness of a session can be set too, but that of the
    user's own is not ours. Signals to stop are handed on to the child, which stops as well if this process is killed.
    """
    if not _sessions_compete() or _leads_a_session():
        return work()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os.kill(os.getpid(), signal.SIGTERM)
        return work()

    def hand_on(number: int, frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGTERM:  # before it had anything to save
        print("reweigh: stopped by SIGTERM; the same command begins again", file=sys.stderr)
    return code if code >= 0 else 128 - code


def _sessions_compete() -> bool:
    try:
        return AUTOGROUPS.read_text(encoding="utf-8").strip() == "1"
    except OSError:
        return False


def _set_niceness_of_the_session(nice: int) -> None:
    """Linux takes one such change in a tenth of a second, from all users but root together."""
    for _ in range(TRIES):
        with contextlib.suppress(OSError):
            try:
                OWN_AUTOGROUP.write_text(str(nice), encoding="utf-8")
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)
                continue
        return


def _leads_a_session() -> bool:
    return os.getsid(0) == os.getpid()
