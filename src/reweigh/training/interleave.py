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
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch

from reweigh import os_errors
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
    """The time that passes, in equal shares for the accounts that are there; what belongs to none is skipped.

    Charged alone, the first run that waits for the device would pay for the work of all. It knows those accounts that
    are there and no others, and an account knows no run: what is over can be freed.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock, self.last = clock, clock()
        self.there: set[Account] = set()

    def charge(self) -> None:
        """Charge everybody who is there for the time since the last reading."""
        now = self.clock()
        for account in self.there:
            account.charged += (now - self.last) / len(self.there)
        self.last = now

    def skip(self) -> None:
        """Charge nobody for the time since the last reading: evaluation, checkpoints, preparing a run."""
        self.last = self.clock()


class Account:
    """The clock of one run: the seconds that it was `charged` so far. Call it at the end of a stretch of work."""

    def __init__(self, shares: Shares) -> None:
        self.shares, self.charged = shares, 0.0

    def __call__(self) -> float:
        """The seconds charged by now. What a run does that is not there is nobody's time."""
        if self in self.shares.there:
            self.shares.charge()
        else:
            self.shares.skip()
        return self.charged

    def resume(self) -> float:
        """The same where a stretch of work begins: nobody pays for what was done since the clock was read last."""
        self.shares.skip()
        return self.charged

    def enter(self) -> None:
        """Be there from now on."""
        self.shares.skip()
        self.shares.there.add(self)

    def leave(self) -> None:
        """Be there no more, or wait for another run and ask nothing of the device."""
        self.shares.skip()
        self.shares.there.discard(self)


class Lane:
    """A job and the stream that its work is queued on. `shares` counts its seconds; None: the run does so itself."""

    def __init__(self, make: Callable[[], Any], device: torch.device, shares: Shares | None = None) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.job = self.inside(make)
        self.ahead = 0  # steps to take beyond one a turn
        self.account, self.seen = Account(shares) if shares else None, 0.0
        if self.account:
            self.account.enter()
            self.job.run.clock = self.account

    def inside(self, action: Callable[[], Any]) -> Any:
        """Call `action` with the lane's stream as the current one."""
        with torch.cuda.stream(self.stream):  # None: no stream, as on a CPU
            return action()

    def step(self) -> bool:
        """One step of the job, then its keeper: a checkpoint, or the end, if it is time. False: it has to wait."""
        if not self._counting_itself(self.job.ready):
            self.leave()
            if self.job.keeper.clock.is_up():
                raise OutOfTime  # its state is as its last checkpoint says
            return False
        if self.job.run.over:
            return True
        if self.account:
            self.account.enter()
        self._count()
        self._counting_itself(self.job.run.advance)
        self.job.keeper(self.job.run)
        return True

    def save(self) -> None:
        """Write the job's checkpoint."""
        self._count()
        self.inside(functools.partial(self.job.keeper.save, self.job.run))

    def leave(self) -> None:
        """Ask nothing of the device from now on."""
        if self.account:
            self.account.leave()

    def _count(self) -> None:
        """Add to the run's seconds its share of the time in which others had their turn."""
        if self.account:
            self.job.run.seconds += self.account.charged - self.seen
            self.seen = self.account.charged

    def _counting_itself(self, action: Callable[[], Any]) -> Any:
        """Call what counts the run's own seconds, by the clock that it was given."""
        before = self.account.charged if self.account else 0.0
        result = action()
        if self.account:
            self.seen += self.account.charged - before
        return result

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
        self.stopped = False  # whether a lane has just ended before its run
        self.dropped = False  # whether lanes were taken away whose memory is not yet free
        self.device, self.make, self.done, self.progress, self.failed = device, make, done, progress, failed
        self.shares = shares

    def fill(self) -> None:
        """Give lanes to waiting runs, as many as may share the device."""
        self.stopped = False
        self._clear()
        while self.waiting and len(self.lanes) < self.at_once:
            self._begin(self.waiting.popleft())
            self._clear()

    def _clear(self) -> None:
        """Free what runs without a lane held, here where neither an exception nor a loop has any of it."""
        if self.dropped:
            _free()
        self.dropped = False
        if not self.lanes and self.device.type == "cuda" and torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats(self.device)  # `peak_bytes` is not that of earlier runs

    def _begin(self, spec: dict[str, Any]) -> None:
        """Prepare a run and give it a lane, if it fits."""
        error: Exception | None = None
        try:
            lane = Lane(functools.partial(self.make, spec), self.device, self.shares)
        except Exception as caught:
            error = _light(caught)
        if error is None:
            self._stagger(lane)
            self.lanes.append(lane)
            return
        self.dropped = True
        if isinstance(error, torch.OutOfMemoryError):
            self._fewer(spec, len(self.lanes) + 1)
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
            self._save_all(but=lane)  # which is saved, or has nothing new
            for each in self.lanes:
                each.job.release()
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
                _save(other)
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
        if os_errors.is_of_the_disk(error):  # the others would only train on to the same end
            for lane in self.lanes:
                lane.job.release()
            raise _without_frames(error)
        if not isinstance(error, ReweighError):
            said = os_errors.in_words(error)
            if said is None:
                traceback.print_exception(error)
            error = TrainingError(said or _in_a_line(error))
        self.failed(spec, _without_frames(error))  # who keeps the error must not keep the run

    def _fewer(self, spec: dict[str, Any], active: int) -> None:
        """Memory ran out with `active` runs side by side, in one of `spec`: at most half as many from now on."""
        if active == 1:
            self._fail(spec, TrainingError(TOO_LARGE))
        else:
            print(f"out of memory with {active} runs side by side; continuing with {active // 2}", file=sys.stderr)
            self.at_once = active // 2
            self.waiting.appendleft(spec)

    def _save_all(self, but: Lane | None = None) -> None:
        """Save the runs that are on the device, each by itself, but perhaps one."""
        for lane in self.lanes:
            if lane is not but:
                _save(lane)

    def _drop(self, lane: Lane) -> None:
        """Take a lane away; what its run was training for others too is theirs to go on with."""
        self.lanes.remove(lane)
        self.dropped = True
        lane.job.release()
        lane.leave()


def _save(lane: Lane) -> None:
    """Save a run if that is possible. If not, no other run has to suffer for it."""
    try:
        if not lane.job.run.over:
            lane.save()
    except Exception as error:
        name, why = _name(lane.job.spec), _in_a_line(error)
        print(f"{name}: cannot be saved ({why}); it goes on from an earlier checkpoint, if any", file=sys.stderr)


def _name(spec: dict[str, Any]) -> str:
    return str(RunName.of_spec(spec))


def _in_a_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _light(error: Exception) -> Exception:
    """An error for want of memory without the frames that hold it; any other as it is."""
    return _without_frames(error) if isinstance(error, torch.OutOfMemoryError) else error


def _without_frames(error: Exception) -> Exception:
    """An error without the frames of its traceback, which keep the tensors of the failed step."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


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
