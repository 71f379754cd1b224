"""Ctrl-C within a step that takes long: after a few seconds the process ends without waiting for the step.

Python runs a handler of its own only between two calls of torch, and one of a large net's may take half a minute on a
CPU. A thread is told of the signal at once. What was trained since the last checkpoint is lost, a minute or a step.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SECONDS = 3.5  # from Ctrl-C to the end; Snakemake takes another one to say how far it came
SAVING_SECONDS = 30.0  # more for a checkpoint that is just being written


@contextlib.contextmanager
def limited(clock: Any, code: int) -> Iterator[None]:
    """In this context Ctrl-C ends the process with `code` if the context is not left within `SECONDS`.

    `clock` (a `checkpoint.Clock`) says whether a checkpoint is being written, which is waited for. Does nothing outside
    of the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    over = threading.Event()
    thread = threading.Thread(target=_wait, args=(told, over, clock, code), daemon=True)
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        with contextlib.suppress(BlockingIOError):  # full: there is enough to read
            os.write(tell, b"\0")
        thread.join()
        os.close(tell)
        os.close(told)


def _wait(told: int, over: threading.Event, clock: Any, code: int) -> None:
    """Wait for SIGINT, whose number is written to `told`; then give the context its time, and end the process."""
    while os.read(told, 1) != bytes([signal.SIGINT]):
        if over.is_set():
            return
    if over.wait(SECONDS):
        return
    last = time.monotonic() + SAVING_SECONDS
    while clock.saving and time.monotonic() < last:
        if over.wait(0.05):
            return
    with contextlib.suppress(OSError, ValueError):
        said = "stopped within a step that takes long; the same command goes on from where it was last saved"
        print(f"reweigh: {said}", file=sys.stderr, flush=True)
    os._exit(code)
