"""A run in whose steps it is an error that the host waits for the GPU: on the device side, and on the host side.

The host side of a step seeks batches and sets numbers (`engine`). A copy from pinned memory that goes on meanwhile, or
a number that is written by a kernel, waits for nothing; a plain copy does, and then a GPU idles in every step. Two
things may wait: the first step of a program, because libraries set themselves up; and a stream of batches that begins
a new pass over its examples, because it copies their new order, once a pass.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch

from reweigh.data.batches import BatchStream
from reweigh.training.engine import Logged, Run


class Watch:
    """Whether waiting is an error now. `orders` counts the new orders of batches that were let pass."""

    def __init__(self) -> None:
        self.mode = "default"
        self.orders = 0

    @contextlib.contextmanager
    def set(self, mode: str) -> Iterator[None]:
        """In this context waiting is an error ("error"), or not ("default")."""
        before, self.mode = self.mode, mode
        torch.cuda.set_sync_debug_mode(mode)
        try:
            yield
        finally:
            self.mode = before
            torch.cuda.set_sync_debug_mode(before)


class NeverWaiting(Run):
    """A run that raises RuntimeError where a step waits. Its `execute` is not asked: it takes its steps eagerly."""

    def __init__(self, *known: Any) -> None:
        self.watch = Watch()
        self.programs: set[Hashable] = set()
        self.watched = 0  # steps
        self.after_step = "default"  # how what comes next is kept
        super().__init__(*known)
        self.execute = self._watched

    def _host_side(self) -> None:
        try:
            with self.watch.set("error"):
                super()._host_side()
        except RuntimeError:
            super()._host_side()  # once more, for its program: what it sets depends on the number of the step alone
            if self._known in self.programs:
                raise

    @property
    def _known(self) -> Hashable:
        """What a step's work depends on, as the engine tells its executor."""
        return (self.stage, self.program, self.course.batches.size)

    def _watched(self, program: Hashable, device_side: Callable[[], Logged]) -> Logged:
        first = program not in self.programs
        self.programs.add(program)
        self.watched += not first
        self.after_step = "default" if first else "error"
        with self.watch.set(self.after_step):
            return device_side()

    def _keep(self, logged: Logged) -> None:
        mode, self.after_step = self.after_step, "default"
        with self.watch.set(mode):  # what an epoch or a stage logs may wait
            super()._keep(logged)


@contextlib.contextmanager
def new_orders_may_wait(watch: Watch) -> Iterator[None]:
    """In this context every stream of batches may wait where it begins a pass over its examples, and only there."""
    seek = BatchStream.seek

    def watched(stream: BatchStream, number: int) -> None:
        if number // stream.per_cycle == stream._cycle:
            return seek(stream, number)
        watch.orders += watch.mode == "error"
        with watch.set("default"):
            return seek(stream, number)

    BatchStream.seek = watched  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        BatchStream.seek = seek  # type: ignore[method-assign]
