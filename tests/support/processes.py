"""Processes as the system sees them: which a process has started, whether one has ended, and a wait for either."""

import time

import psutil

PATIENCE_SECONDS = 120  # for what happens by itself, on however busy a machine


def children(pid):
    """The numbers of the processes that a process has started, in that order; none if it has ended."""
    try:
        found = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
    return [process.pid for process in sorted(found, key=lambda process: (process.create_time(), process.pid))]


def state(pid):
    """What a process does, by psutil's word for it: `running`, `sleeping`, `stopped` ...; None if it has ended.

    One that has ended may be there for ever, where the first process of a container asks no orphan how it ended.
    """
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return None
    return None if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else status


def gone(pid):
    """Whether a process has ended."""
    return state(pid) is None


def wait_for(condition, what="it", process=None):
    """Wait until `condition()` holds; while it does not, `process` must not end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, (f"ended before {what}", *process.communicate())
        assert time.monotonic() < deadline, f"no sign of {what} in {PATIENCE_SECONDS} s"
        time.sleep(0.005)
