"""Several runs on one CPU: each in a worker process, with the threads that its spec fixes.

The number of threads changes floating-point sums, so a run keeps its own whatever runs beside it; what is gained comes
from the runs side by side. They are processes and not threads because Python takes a large part of a small net's step,
and only one thread at a time may run Python.

A worker takes one run at a time, and waits for none: one that would have to, because another trains what it needs, is
put off until that one is done with it. A worker that is killed, for example by the kernel when memory is short, is not
replaced: its run resumes from its checkpoint in one of the others.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from reweigh import os_errors
from reweigh.config.names import RunName
from reweigh.errors import ReweighError, TrainingError
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.shared import Lock, is_free

STEPS_A_MESSAGE = 50
IDLE_SECONDS = 0.5


@dataclass
class Worker:
    """A process, the pipe to it, and the spec that it is training."""

    process: BaseProcess
    pipe: Connection
    spec: dict[str, Any] | None = None


@dataclass
class PutOff:
    """A run that waits for what another one makes at the path `awaited`."""

    spec: dict[str, Any]
    awaited: Path
    told: bool = False

    def tell(self) -> None:
        """Say so, once."""
        if not self.told:
            print(
                f"{RunName.of_spec(self.spec)}: waiting for {Lock(self.awaited.with_suffix('.lock')).holder()}",
                file=sys.stderr,
            )
            self.told = True


def _raised(spec: dict[str, Any], error: Exception) -> None:
    raise error


def train(
    specs: list[dict[str, Any]],
    at_once: int,
    make: Callable[..., Any],
    clock: Clock,
    done: Callable[[dict[str, Any]], None],
    progress: Callable[[int], None] = lambda steps: None,
    failed: Callable[[dict[str, Any], Exception], None] = _raised,
) -> None:
    """Train specs in up to `at_once` processes. `make(spec, clock=...)` prepares a job.

    `done(record)` ends a run; `failed(spec, error)` one that cannot be trained, and the others go on. Without it the
    error is raised, and the others end at their last checkpoints. Raises OutOfTime when the clock is up, with every
    state saved; TrainingError if the only worker is killed; OSError if the disk is full, which ends them all.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    waiting: deque[dict[str, Any]] = deque(specs)
    put_off: list[PutOff] = []
    workers = [_start(context, make, clock.deadline) for _ in range(min(at_once, len(specs)))]
    failure: BaseException | None = None
    try:
        while waiting or put_off or any(worker.spec for worker in workers):
            if clock.stopping or failure or (clock.is_up() and not any(worker.spec for worker in workers)):
                failure = failure or OutOfTime()
                waiting.clear()
                put_off.clear()
                _ask_to_stop(workers, clock)
            _take_up(put_off, waiting)
            _give(workers, waiting)
            if put_off and any(worker.spec is None for worker in workers):
                put_off[0].tell()
            for pipe in wait([worker.pipe for worker in workers], timeout=0.2):
                worker = next(worker for worker in workers if worker.pipe is pipe)
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    workers.remove(worker)
                    failure = failure or _lost(worker, workers, waiting, put_off)
                    continue
                if kind == "steps":
                    progress(content)
                    continue
                given, worker.spec = worker.spec or {}, None
                if kind == "done":
                    done(content)
                elif kind == "waits":
                    put_off.append(PutOff(given, content))
                elif kind == "stopped":
                    failure = failure or content
                else:
                    failed(given, content)
    finally:
        for worker in workers:  # idle by now, or not needed any more
            worker.process.kill()
            worker.process.join()
    if failure:
        raise failure


def _ask_to_stop(workers: list[Worker], clock: Clock) -> None:
    """Have workers save their runs and stop; end those that are still within a step when nobody waits any more."""
    for worker in workers:
        if worker.spec and clock.is_overdue():
            worker.process.kill()
        elif worker.spec:
            worker.process.terminate()


def _start(context: Any, make: Callable[..., Any], deadline: float | None) -> Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make, deadline, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _take_up(put_off: list[PutOff], waiting: deque[dict[str, Any]]) -> None:
    """Have runs that were put off be next, if what they need is free."""
    for one in reversed([one for one in put_off if is_free(one.awaited)]):
        put_off.remove(one)
        waiting.appendleft(one.spec)


def _give(workers: list[Worker], waiting: deque[dict[str, Any]]) -> None:
    """Give idle workers the next specs."""
    for worker in workers:
        if worker.spec is None and waiting:
            worker.spec = waiting.popleft()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended; `train` notices
                worker.pipe.send(worker.spec)


def _lost(
    worker: Worker, others: list[Worker], waiting: deque[dict[str, Any]], put_off: list[PutOff]
) -> BaseException | None:
    """Give the run of a worker that ended to the others; the error if there are none, and something is left."""
    worker.process.join()
    if worker.spec is None and (others or not put_off):
        return None
    if not others:
        return TrainingError(
            f"the process that was training ended with code {worker.process.exitcode} (-9: killed, perhaps because "
            "memory was short); the same command resumes from its last checkpoint"
        )
    print(f"a worker was killed; continuing with {len(others)} runs side by side", file=sys.stderr)
    if worker.spec is not None:
        waiting.appendleft(worker.spec)
    return None


def failure_of(error: Exception) -> TrainingError:
    """What is said of a run that failed by an error that is not ours: a line, or a traceback if it may be a fault."""
    if (said := os_errors.in_words(error)) is None:
        traceback.print_exception(error)
    return TrainingError(said or "training failed; the traceback is above")


class _Orphaned(BaseException):
    """The parent process has ended, so nobody waits for the result."""


def _work(pipe: Connection, make: Callable[..., Any], deadline: float | None, parent: int) -> None:
    """The life of a worker: train what it is given, until it is killed or its parent has ended."""
    clock = Clock(deadline)
    signal.signal(signal.SIGTERM, lambda *_: clock.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which tells its workers
    taken = 0

    def progress(run: Any) -> None:
        nonlocal taken
        taken += 1
        if os.getppid() != parent:
            raise _Orphaned
        if taken % STEPS_A_MESSAGE == 0:
            pipe.send(("steps", STEPS_A_MESSAGE))

    try:
        while True:
            while not pipe.poll(IDLE_SECONDS):  # a fork has the other end too: no end of file comes
                if clock.stopping or os.getppid() != parent:
                    raise _Orphaned
            spec, job = pipe.recv(), None
            try:
                job = make(spec, clock=clock)
                pipe.send(("done", job.finish(progress)) if job.ready() else ("waits", job.awaited))
            except OutOfTime as stop:
                pipe.send(("stopped", stop))
            except ReweighError as error:
                pipe.send(("failed", error))
            except Exception as error:
                pipe.send(("stopped", error) if os_errors.is_of_the_disk(error) else ("failed", failure_of(error)))
            finally:
                if job is not None:
                    job.release()
                    job = None  # it holds the data, the model and its graphs
    except (_Orphaned, EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)
