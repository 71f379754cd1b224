"""Several runs on one GPU, in one process: each has its own stream and graphs, and they take steps in turn.

The kernels of one run fill the parts of the device that another leaves idle. Which steps run side by side does not
change the result of any. If memory runs out, fewer runs share the device; a batch size is never changed. A run that
cannot go on leaves the others as they are; its error is reported when they are finished.
"""

import functools
import gc
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import torch

from reweigh.config.names import RunName
from reweigh.errors import ReweighError, TrainingError
from reweigh.training import afresh
from reweigh.training.afresh import Afresh
from reweigh.training.checkpoint import OutOfTime
from reweigh.training.graph import CapturedSteps

WAIT_SECONDS = 0.05
TOO_LARGE = (
    "out of memory with a single run on the device: free the device or use a larger one "
    "(a smaller batch would be another experiment, and is not tried)"
)


class Shares:
    """The time that passes, in equal shares for the lanes that are there; what belongs to none is skipped.

    Charged alone, the first run that waits for the device would pay for the work of all.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock, self.last = clock, clock()
        self.charged: defaultdict[object, float] = defaultdict(float)
        self.there: set[object] = set()

    def read(self, lane: object) -> float:
        """The seconds that a lane has been charged so far."""
        now = self.clock()
        for other in self.there:
            self.charged[other] += (now - self.last) / len(self.there)
        self.last = now
        return self.charged[lane]

    def skip(self) -> None:
        """Charge nobody for the time since the last reading: evaluation, checkpoints, preparing a run."""
        self.last = self.clock()

    def enter(self, lane: object) -> None:
        """A lane is there from now on, if it was not."""
        if lane not in self.there:
            self.skip()
            self.there.add(lane)

    def leave(self, lane: object) -> None:
        """A lane is there no more, or waits for another run and asks nothing of the device."""
        self.skip()
        self.there.discard(lane)


class Lane:
    """A job and the stream that its work is queued on. `shares` counts its seconds; None: the run does so itself."""

    def __init__(self, make: Callable[[], Any], device: torch.device, shares: Shares | None = None) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.job = self.inside(make)
        self.ahead = 0  # steps to take beyond one a turn
        self.shares, self.seen = shares, 0.0
        if shares is not None:
            shares.enter(self)
            self.job.run.clock = functools.partial(shares.read, self)

    def inside(self, action: Callable[[], Any]) -> Any:
        """Call `action` with the lane's stream as the current one."""
        with torch.cuda.stream(self.stream):  # None: no stream, as on a CPU
            return action()

    def step(self) -> bool:
        """One step of the job, then its keeper: a checkpoint, or the end, if it is time. False: it has to wait."""
        if not self.job.ready():
            if self.shares is not None:
                self.shares.leave(self)
            if self.job.keeper.clock.is_up():
                raise OutOfTime  # its state is as its last checkpoint says
            return False
        if self.job.run.over:
            return True
        if self.shares is not None:
            self.shares.enter(self)
        self._count()
        self.job.run.advance()  # counts its own seconds but for evaluation, by the clock that it was given
        if self.shares is not None:
            self.shares.skip()
            self.seen = self.shares.charged[self]
        self.job.keeper(self.job.run)
        if self.shares is not None:
            self.shares.skip()
        return True

    def save(self) -> None:
        """Write the job's checkpoint."""
        self._count()
        self.inside(functools.partial(self.job.keeper.save, self.job.run))

    def _count(self) -> None:
        """Add to the run's seconds its share of the time in which others had their turn."""
        if self.shares is not None:
            charged = self.shares.read(self)
            self.job.run.seconds += charged - self.seen
            self.seen = charged

    @property
    def spoiled(self) -> bool:
        """Whether a capture failed, so that no other in this process can succeed."""
        return isinstance(self.job.run.execute, CapturedSteps) and self.job.run.execute.spoiled


def train(
    specs: list[dict[str, Any]],
    at_once: int,
    device: torch.device,
    make: Callable[[dict[str, Any]], Any],
    done: Callable[[dict[str, Any]], None],
    progress: Callable[[int], None] = lambda steps: None,
    failed: Callable[[dict[str, Any], Exception], None] | None = None,
    clock: Callable[[], float] | None = None,
) -> None:
    """Train specs, `at_once` of them side by side. `make(spec)` prepares a job; `done(record)` is called at its end,
    `failed(spec, error)` for one that cannot be trained: the others go on.

    Runs on the same data and model are neighbours, whatever the order of the specs. On a GPU the seconds of a run are
    counted by `clock` (by default, wall clock) and shared by the runs that are there.

    Raises OutOfTime when the clock of the jobs is up, with every state saved; Afresh if this process is spoiled, with
    the states saved that can be; without `failed`, TrainingError when all are over and some could not be trained.
    """
    if clock is None and device.type == "cuda":
        clock = time.perf_counter
    failures: dict[str, str] = {}

    def noted(spec: dict[str, Any], error: Exception) -> None:
        failures[_name(spec)] = _in_a_line(error)

    turns = Turns(specs, at_once, device, make, done, progress, failed or noted, Shares(clock) if clock else None)
    while turns.waiting or turns.lanes:
        turns.fill()
        turns.once_each()
    if failures:
        raise afresh.failure(failures)


class Turns:
    """The runs that wait, and those that have a lane."""

    def __init__(
        self,
        specs: Iterable[dict[str, Any]],
        at_once: int,
        device: torch.device,
        make: Callable[[dict[str, Any]], Any],
        done: Callable[[dict[str, Any]], None],
        progress: Callable[[int], None],
        failed: Callable[[dict[str, Any], Exception], None],
        shares: Shares | None,
    ) -> None:
        self.waiting = deque(sorted(specs, key=lambda spec: (spec["data"]["dataset"], spec["model"]["name"])))
        self.at_once = min(at_once, afresh.start().at_once or at_once)
        self.lanes: list[Lane] = []
        self.stopped = False  # whether a lane has just ended before its run; its memory is not yet free
        self.device, self.make, self.done, self.progress, self.failed = device, make, done, progress, failed
        self.shares = shares

    def fill(self) -> None:
        """Give lanes to waiting runs, as many as may share the device."""
        if self.stopped:  # here, where neither an exception nor a loop keeps the memory of the failed step
            _free()
        self.stopped = False
        while self.waiting and len(self.lanes) < self.at_once:
            spec, error = self.waiting.popleft(), None
            try:
                lane = Lane(functools.partial(self.make, spec), self.device, self.shares)
            except Exception as caught:
                error = _light(caught)
            if error is None:
                self._stagger(lane)
                self.lanes.append(lane)
            elif isinstance(error, torch.OutOfMemoryError):
                self._fewer(spec, len(self.lanes) + 1)
                _free()
            else:
                self._fail(spec, error)

    def once_each(self) -> None:
        """A turn of every lane; no further, if one of them had to stop."""
        moved = False
        for lane in list(self.lanes):
            moved |= self.take(lane)
            if self.stopped:
                break
        if self.lanes and not moved:  # all of them wait for runs of other processes
            time.sleep(WAIT_SECONDS)

    def take(self, lane: Lane) -> bool:
        """A lane's turn: a step, or two while it is to get ahead; the record, after the last. False: it waits."""
        error: Exception | None = None
        moved = True
        try:
            for _ in range(2 if lane.ahead > 0 else 1):
                if not lane.job.run.over:
                    moved = lane.inside(lane.step)
                    self.progress(int(moved))
            lane.ahead -= 1
            if lane.job.run.over:
                self.done(lane.inside(lane.job.write))
                self._drop(lane)
        except OutOfTime:
            for other in self.lanes:
                if other is not lane and not other.job.run.over:
                    other.save()
                other.job.release()
            raise
        except Exception as caught:
            error = _light(caught)
        if error is not None:
            self._stopped(lane, error)
        elif lane.spoiled:
            self._save_all()
            raise Afresh("a step cannot be captured", {afresh.kind_of(lane.job.spec): lane.job.run.execute.refused})
        return moved

    def _stagger(self, lane: Lane) -> None:
        """Let a new run get a part of an epoch ahead of the others, so that not all evaluate at the same time."""
        run = lane.job.run
        if run.step == 0 and not run.over:
            lane.ahead = len(self.lanes) * run.course.steps_per_epoch // self.at_once

    def _stopped(self, lane: Lane, error: Exception) -> None:
        """A lane's step failed half done: its run goes on from its last checkpoint, or not at all."""
        spec, active = lane.job.spec, len(self.lanes)
        refused = {afresh.kind_of(spec): lane.job.run.execute.refused} if lane.spoiled else {}
        self.stopped = True
        self._drop(lane)
        if lane.spoiled:
            self._save_all()
            fewer = max(1, active // 2) if isinstance(error, torch.OutOfMemoryError) else None
            raise Afresh(f"a capture failed: {error}", refused, at_once=fewer)
        if isinstance(error, torch.OutOfMemoryError):
            self._fewer(spec, active)
            for other in reversed(self.lanes[self.at_once :]):
                other.save()
                self.waiting.appendleft(other.job.spec)
                self._drop(other)
            return
        if not _answers(self.device):
            # The error may be any run's: with one on the device at a time, it will be clear whose.
            failed, at_once = ({_name(spec): _in_a_line(error)}, None) if active == 1 else ({}, 1)
            raise Afresh(f"the device is of no use any more: {_in_a_line(error)}", failed=failed, at_once=at_once)
        self._save_all()
        self._fail(spec, error)

    def _fail(self, spec: dict[str, Any], error: Exception) -> None:
        if not isinstance(error, ReweighError):
            traceback.print_exception(error)
            error = TrainingError(_in_a_line(error))
        self.failed(spec, error)

    def _fewer(self, spec: dict[str, Any], active: int) -> None:
        """Memory ran out with `active` runs side by side, in one of `spec`: at most half as many from now on."""
        if active == 1:
            self._fail(spec, TrainingError(TOO_LARGE))
        else:
            print(f"out of memory with {active} runs side by side; continuing with {active // 2}", file=sys.stderr)
            self.at_once = active // 2
            self.waiting.appendleft(spec)

    def _save_all(self) -> None:
        """Save the runs that are on the device, if that is possible."""
        try:
            for lane in self.lanes:
                if not lane.job.run.over:
                    lane.save()
        except Exception as error:
            print(f"no run can be saved ({_in_a_line(error)}); they go on from earlier checkpoints", file=sys.stderr)

    def _drop(self, lane: Lane) -> None:
        """Take a lane away; what its run was training for others too is theirs to go on with."""
        self.lanes.remove(lane)
        lane.job.release()
        if self.shares is not None:
            self.shares.leave(lane)


def _name(spec: dict[str, Any]) -> str:
    return str(RunName.of_spec(spec))


def _in_a_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _light(error: Exception) -> Exception:
    """An error for want of memory without the frames of its traceback, which keep the tensors of the failed step."""
    if isinstance(error, torch.OutOfMemoryError):
        error.__context__ = error.__cause__ = None
        return error.with_traceback(None)
    return error


def _answers(device: torch.device) -> bool:
    """Whether the device still computes; after an error in a kernel CUDA refuses every call of the process."""
    try:
        return bool(torch.ones((), device=device).item())
    except RuntimeError:
        return False


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
