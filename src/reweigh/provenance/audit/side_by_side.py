"""The checks of an audit on all cores: each in one of a few processes, the links in the order of the checks.

    links = answers([Check(lambda: check_lock(records, root)), Check(lambda: check_commits(records, root), weight=4)])

The processes are forked, so each has all that was read before, and only links come back. What none of them answered,
because it was killed or its check raised, is checked in this process, which then raises the same. So are all checks of
a small project, on one core, and where a system has no fork: one after the other, with the same answers.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from reweigh.provenance.audit.links import Link, with_progress

WORTH_IT = 4.0  # the weight of all checks from which on a second process saves more than it costs


class Check(NamedTuple):
    """A part of an audit that needs nothing of the others.

    `links` is called in one process or another, once. `weight` says how long that takes, about: seconds on one core.
    The heaviest checks begin first, so that none of them is left for the end.
    """

    links: Callable[[], Iterable[Link]]
    weight: float = 0.0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answers(checks: Sequence[Check], title: str = "audit") -> list[Link]:
    """The links of all checks, those of the first one first, with a progress bar if stderr is a terminal.

    Raises what a check raises.
    """
    found: dict[int, list[Link]] = {}
    processes = min(cores(), len(checks)) if sum(check.weight for check in checks) >= WORTH_IT else 1
    if processes > 1 and sys.platform == "linux":
        with _forked(checks, processes) as pipes:  # before the bar, which has a thread
            given = _given(pipes, sorted(range(len(checks)), key=lambda place: checks[place].weight))
            for _ in with_progress(range(len(checks)), title):
                if (answer := next(given, None)) is None:
                    break
                found |= answer
    left = [place for place in range(len(checks)) if place not in found]
    for place in with_progress(left, title) if left else ():
        found[place] = list(checks[place].links())
    return [link for place in range(len(checks)) for link in found[place]]


@contextlib.contextmanager
def begun(checks: Sequence[Check]) -> Iterator[Callable[[], dict[int, list[Link]]]]:
    """Checks that a process of its own answers while the block does something else, if that saves time.

    The block is given a function that waits for the answers: the links of each check, by its place. Checks that raised,
    or whose process was killed, are not among them; where there is no second process none is.
    """
    alone = not checks or cores() < 2 or sys.platform != "linux" or sum(check.weight for check in checks) < WORTH_IT
    with contextlib.ExitStack() as stack:
        pipes = [] if alone else stack.enter_context(_forked(checks, 1))
        for pipe in pipes:
            with contextlib.suppress(OSError):  # it was killed
                for place in range(len(checks)):
                    pipe.send(place)
        yield lambda: _received(pipes, len(checks))


def _received(pipes: Sequence[Connection], count: int) -> dict[int, list[Link]]:
    found: dict[int, list[Link]] = {}
    for pipe in pipes:
        with contextlib.suppress(EOFError, OSError):
            for _ in range(count):
                found |= pipe.recv()
    return found


@contextlib.contextmanager
def _forked(checks: Sequence[Check], processes: int) -> Iterator[list[Connection]]:
    """Pipes to processes that answer checks; fewer or none where the system gives no more. They end with the block."""
    context = multiprocessing.get_context("fork")
    pairs: list[tuple[Connection, Connection]] = []
    with contextlib.suppress(OSError):
        pairs += (context.Pipe() for _ in range(processes))
    started = []
    try:
        with contextlib.suppress(OSError):
            for _, theirs in pairs:
                # Who holds another's end of a pipe keeps its partner from noticing that this other has ended.
                others = [end for pair in pairs for end in pair if end is not theirs]
                process = context.Process(target=_work, args=(checks, theirs, others), daemon=True)
                process.start()
                started.append(process)
        for _, theirs in pairs:
            theirs.close()
        yield [ours for ours, _ in pairs[: len(started)]]
    finally:
        for process in started:
            process.kill()
            process.join()
        for ours, _ in pairs:
            ours.close()


def _given(pipes: list[Connection], waiting: list[int]) -> Iterator[dict[int, list[Link]]]:
    """Give each process the next check whenever it has answered one; the answers as they come, empty for none."""
    busy = {pipe for pipe in pipes if _give(pipe, waiting)}
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            try:
                answer = pipe.recv()
            except (EOFError, OSError):  # it was killed
                answer = {}
                busy.remove(pipe)
            else:
                if not _give(pipe, waiting):
                    busy.remove(pipe)
            yield answer


def _give(pipe: Connection, waiting: list[int]) -> bool:
    """Give a process the last check of those that wait; False if there is none, or it has ended."""
    if not waiting:
        return False
    try:
        pipe.send(waiting[-1])
    except OSError:
        return False
    waiting.pop()
    return True


def _work(checks: Sequence[Check], pipe: Connection, others: list[Connection]) -> None:
    """The life of a process: answer the checks that it is given, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    gc.freeze()  # what the parent has read stays as it is, and is not looked through again
    for end in others:
        end.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            place = pipe.recv()
            try:
                answer = {place: list(checks[place].links())}
            except Exception:  # the parent tries it again, and raises it
                answer = {}
            pipe.send(answer)
