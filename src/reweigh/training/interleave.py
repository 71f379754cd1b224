"""Several runs on one GPU, in one process: each has its own stream and graphs, and they take steps in turn.

The kernels of one run fill the parts of the device that another leaves idle. Which steps run side by side does not
change the result of any. If memory runs out, fewer runs share the device; a batch size is never changed.
"""

import functools
import gc
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from reweigh.errors import TrainingError
from reweigh.training.checkpoint import OutOfTime


class Lane:
    """A job and the stream that its work is queued on."""

    def __init__(self, make: Callable[[], Any], device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.job = self.inside(make)

    def inside(self, action: Callable[[], Any]) -> Any:
        """Call `action` with the lane's stream as the current one."""
        with torch.cuda.stream(self.stream):  # None: no stream, as on a CPU
            return action()

    def step(self) -> bool:
        """One step of the job, then its keeper: a checkpoint, or the end, if it is time. False: it has to wait."""
        if not self.job.ready():
            if self.job.keeper.clock.is_up():
                raise OutOfTime  # its state is as its last checkpoint says
            return False
        if not self.job.run.over:
            self.job.run.advance()
            self.job.keeper(self.job.run)
        return True

    def save(self) -> None:
        """Write the job's checkpoint."""
        self.inside(functools.partial(self.job.keeper.save, self.job.run))


def train(
    specs: list[dict[str, Any]],
    at_once: int,
    device: torch.device,
    make: Callable[[dict[str, Any]], Any],
    done: Callable[[dict[str, Any]], None],
    progress: Callable[[int], None] = lambda steps: None,
) -> None:
    """Train specs, `at_once` of them side by side. `make(spec)` prepares a job; `done(record)` is called at its end.

    Raises OutOfTime when the clock of the jobs is up, with every state saved; TrainingError if a single run needs more
    memory than there is.
    """
    waiting = deque(specs)
    lanes: list[Lane] = []
    too_many = False
    while waiting or lanes:
        if too_many:  # outside of `except`, where the exception no longer keeps the memory of the failed step
            _free()
        too_many = False
        try:
            while waiting and len(lanes) < at_once:
                spec = waiting.popleft()
                try:
                    lanes.append(Lane(functools.partial(make, spec), device))
                except torch.OutOfMemoryError:
                    waiting.appendleft(spec)
                    at_once = _fewer(len(lanes) + 1)
            for lane in list(lanes):
                if not lane.job.run.over:
                    progress(int(lane.inside(lane.step)))
                if lane.job.run.over:
                    done(lane.inside(lane.job.write))
                    lanes.remove(lane)
        except torch.OutOfMemoryError:
            at_once = _fewer(len(lanes))
            lanes, left = _thinned(lanes, lane, at_once)
            waiting.extendleft(reversed(left))
            del lane
            too_many = True
        except OutOfTime:
            for other in lanes:
                if other is not lane and not other.job.run.over:
                    other.save()
                other.job.release()
            raise


def _fewer(active: int) -> int:
    """Half as many runs side by side. Raises TrainingError if there was only one."""
    if active <= 1:
        raise TrainingError(
            "out of memory with a single run on the device: free the device or use a larger one "
            "(a smaller batch would be another experiment, and is not tried)"
        )
    print(f"out of memory with {active} runs side by side; continuing with {active // 2}", file=sys.stderr)
    return active // 2


def _thinned(lanes: list[Lane], failed: Lane, keep: int) -> tuple[list[Lane], list[dict[str, Any]]]:
    """The lanes that stay, and the specs of the others, whose states are saved.

    The failed step is half done, so its run restarts from its last checkpoint.
    """
    whole = [lane for lane in lanes if lane is not failed]
    for lane in whole[keep:]:
        lane.save()
    for lane in [*whole[keep:], failed]:
        lane.job.release()  # what it was training for others too: its spec waits for a lane
    return whole[:keep], [lane.job.spec for lane in whole[keep:]] + [failed.job.spec]


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
