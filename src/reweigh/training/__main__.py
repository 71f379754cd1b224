"""`python -m reweigh.training SPEC.json...`: train resolved specs. Needs torch, numpy and pyyaml, and no network.

A folder stands for its specs, in the order of its `order.txt` (`reweigh plan --specs DIR`). Runs whose record is
current are not trained. A run that cannot be trained does not stop the others; the exit code is then 1. It is 75 (try
again later) if time ran out before all were finished; unfinished runs resume from their checkpoints next time.
"""

import argparse
import contextlib
import functools
import math
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reweigh import os_errors
from reweigh.config.names import RunName
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.listing import visible
from reweigh.records import attestations, commit, own_code, record
from reweigh.terminal import READER_LEFT, flushed, print_all_letters
from reweigh.training import afresh, patience, slurm, spec_check, variables
from reweigh.training.device import check_used, slots_per_device, take_lease

TELL_SECONDS = 60.0  # between two lines of a log about how far training has come
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
ORDER = "order.txt"  # the names of the specs in a folder, in the order in which they are to be trained
NOT_SPECS = ("expected.json", "commit.json")  # what else `reweigh plan --specs DIR` writes there


def seconds(text: str) -> float:
    """A duration such as `90`, `90s`, `9m` or `1.5h`, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise ConfigError(f"{text!r} is not a duration; write for example 90s, 9m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def spec_paths(paths: list[str]) -> list[Path]:
    """The files of specs: those that are named, and those of folders, in the order of a folder's `order.txt`."""
    listed: list[Path] = []
    for path in map(Path, paths):
        order = path / ORDER
        if not path.is_dir():
            listed += [path] if path.name not in NOT_SPECS else []
        elif order.is_file():
            listed += [path / Path(name).name for name in _ordered(order)]
        else:
            listed += [one for one in visible(path, "*.json") if one.name not in NOT_SPECS]
    return listed


def _ordered(order: Path) -> list[str]:
    try:
        return order.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{order}: cannot be read ({error}); {spec_check.WRITE}") from None


def is_current(spec: dict[str, Any]) -> bool:
    """Whether the run has an unaltered record, made from today's spec, code and split (or attested to be as good)."""
    from reweigh.data.obtain import recipe_digest

    try:
        path = record.record_path(str(RunName.of_spec(spec)))
        body = record.read(path)
        record.trace_path(path, body)
    except RecordError:
        return False
    return not record.stale_because(body, spec, recipe_digest(spec), attestations.load())


@dataclass
class Outcome:
    """What became of some runs: the names of those that were trained, the errors of those that cannot be.

    `out_of_time`: some are left; `told` then says whether a signal ended them, not the clock. `steps` were taken.
    """

    trained: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    out_of_time: bool = False
    told: bool = False
    steps: int = 0

    @property
    def exit_code(self) -> int:
        """1 if a run failed (2 by a mistake in its config), else 75 if time ran out, else 0."""
        if self.failed:
            return 2 if any(isinstance(error, ConfigError) for error in self.failed.values()) else 1
        return TRY_AGAIN if self.out_of_time else 0


def train(
    specs: list[dict[str, Any]],
    time_budget: float | None = None,
    again: bool = False,
    at_once: int | None = None,
    gpu: bool = False,
) -> Outcome:
    """Train the runs of the specs, in their order. One that fails is named on stderr, and the others go on.

    `time_budget` is in seconds from now; under Slurm the job's own limit is one, too. Current records are kept unless
    `again`. `at_once` runs train side by side on the device (None: see `automatic`). SIGTERM and Ctrl-C save and stop,
    as the end of the time budget does. Raises TrainingError if `gpu` and there is none that torch can use.
    """
    variables.check()
    told = afresh.start()
    budgets = [one for one in (time_budget, None if told.deadline else slurm.seconds_to_train()) if one is not None]
    deadline = told.deadline or (time.monotonic() + min(budgets) if budgets else None)
    names = [str(RunName.of_spec(spec)) for spec in specs]
    before = {
        name: record.stamp(record.record_path(name)) for name in names
    }  # another process may write them meanwhile
    ended = {*told.finished, *told.failed}
    open_ = [spec for spec, name in zip(specs, names, strict=True) if name not in ended]
    waiting = [spec for spec in open_ if again or not is_current(spec)]
    outcome = Outcome()
    errors = told.errors()
    earlier = {name: errors[name] for name in dict.fromkeys(names) if name in errors}
    if kept := len(open_) - len(waiting):
        print(f"{kept} of {len(specs)} records are current: not trained again", file=sys.stderr)
    if not waiting:
        return _with_earlier(outcome, earlier, len(specs) - kept)
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    lease = take_lease()  # before torch is imported: CUDA reads the visible devices once
    from reweigh.training.checkpoint import Clock
    from reweigh.training.run import Job, pick_device

    device, clock = pick_device(), Clock(deadline)
    check_used(lease, device.type, gpu)
    at_once = min(at_once or automatic(waiting, device.type), len(waiting))
    since = told.since or (time.time() if again else None)  # what was trained before then is trained again
    # Another process in a slot of the same device may train as many as this one, and the records of both must say so.
    beside = at_once * (slots_per_device() if device.type == "cuda" else 1)
    with Progress(waiting) as progress, stopped_by_signals(clock):
        try:
            make = functools.partial(Job, device=device, at_once=beside, before=before, since=since)
            _trained(waiting, make, device, clock, at_once, progress, outcome)
        except afresh.Afresh as stop:
            progress.note(f"going on in a fresh process: {stop}")
            stop.add_failed(outcome.failed)
            next_ = told.and_then(stop, outcome.trained, deadline, since)
            afresh.start_again(next_, lease.inherited if lease else {})
        finally:
            if lease:
                lease.release()
    return _with_earlier(outcome, earlier, len(specs) - kept)


def _with_earlier(outcome: Outcome, earlier: dict[str, ReweighError], count: int) -> Outcome:
    """The outcome of `count` runs, with those that failed before this process replaced another; reports failures."""
    for name, error in earlier.items():
        print(f"reweigh: {name}: {error}", file=sys.stderr)
    outcome.failed = {**earlier, **outcome.failed}
    if outcome.failed and count > 1:
        print(f"{len(outcome.failed)} of {count} runs failed: {', '.join(outcome.failed)}", file=sys.stderr, flush=True)
    return outcome


def _trained(
    waiting: list[dict[str, Any]],
    make: Callable[..., Any],
    device: Any,
    clock: Any,
    at_once: int,
    progress: "Progress",
    outcome: Outcome,
) -> None:
    """Train runs that have no current record: on a GPU in turns, on a CPU in worker processes or one by one."""
    from reweigh.training import interleave, workers
    from reweigh.training.checkpoint import OutOfTime

    def done(record_: dict[str, Any]) -> None:
        outcome.trained.append(record_["run"])
        progress.ended(summary(record_))

    def failed(spec: dict[str, Any], error: Exception) -> None:
        name = str(RunName.of_spec(spec))
        outcome.failed[name] = error
        progress.ended(f"reweigh: {name}: {error}")

    try:
        if device.type == "cuda":
            with patience.limited(clock, TRY_AGAIN):
                made = functools.partial(make, clock=clock)
                interleave.train(waiting, at_once, device, made, done, progress.add, failed)
        elif at_once > 1:
            workers.train(waiting, at_once, make, clock, done, progress.add, failed)
        else:
            with patience.limited(clock, TRY_AGAIN):
                _one_by_one(waiting, functools.partial(make, clock=clock), done, progress, failed)
    except OutOfTime:
        left = len(waiting) - len(outcome.trained) - len(outcome.failed)
        why = "stopped" if clock.stopping else "time is up"
        progress.note(f"{why} with {left} of {len(waiting)} runs left; the same command resumes from here")
        outcome.out_of_time, outcome.told = True, clock.stopping
    outcome.steps = progress.steps


def _one_by_one(
    waiting: list[dict[str, Any]],
    make: Callable[..., Any],
    done: Callable[[dict[str, Any]], None],
    progress: "Progress",
    failed: Callable[[dict[str, Any], Exception], None],
) -> None:
    """Train runs after one another; one that fails does not keep the others from it, but a full disk does."""
    from reweigh.training import workers
    from reweigh.training.checkpoint import OutOfTime

    for spec in waiting:
        try:
            done(make(spec).finish(lambda run: progress.add(1, run)))
        except OutOfTime:
            raise
        except ReweighError as error:
            failed(spec, error)
        except Exception as error:
            if os_errors.is_of_the_disk(error):  # the other runs would only train to the same end
                raise
            failed(spec, workers.failure_of(error))


def automatic(specs: list[dict[str, Any]], device_type: str) -> int:
    """How many runs to train side by side by default: on a GPU all of them, up to 16; on a CPU as cores allow.

    On a CPU up to four runs per core start together, so that no core idles while the last of them ends.
    """
    if device_type == "cuda":
        return min(len(specs), 16)
    fit = cores_allow(specs)
    return len(specs) if fit > 1 and len(specs) <= 4 * fit else fit


def cores_allow(specs: list[dict[str, Any]]) -> int:
    """How many of some runs keep the cores of this machine busy, each with the threads of its spec; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max((spec["training"]["threads"] for spec in specs), default=1))


@contextlib.contextmanager
def stopped_by_signals(clock: Any) -> Iterator[None]:
    """In this context SIGTERM and Ctrl-C save every run and end the process; a second one ends it at once."""

    def stop(number: int, frame: Any) -> None:
        clock.stop(patience.SECONDS if number == signal.SIGINT else math.inf)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def summary(done: dict[str, Any]) -> str:
    """A run that is over in one line. One that diverged has no accuracy."""
    what = "validation" if "validation_accuracy" in done["metrics"] else "test"
    if done["status"] == "diverged":
        ended = f"diverged at step {done['diverged_at_step']} ({done['diverged_because']})"
    else:
        ended = f"finished, {what} accuracy {done['metrics'][f'{what}_accuracy']:.4f}"
    return f"{done['run']}: {ended}, {done['steps']} steps in {done['seconds']:.1f} s"


class Progress:
    """A numbered line about each run that has ended; beside it on a terminal a bar over the steps of all runs (tqdm),
    and in a log a line a minute.
    """

    def __init__(self, specs: list[dict[str, Any]]) -> None:
        self.title = str(RunName.of_spec(specs[0])) if len(specs) == 1 else f"{len(specs)} runs"
        self.runs, self.over, self.steps = len(specs), 0, 0
        self.bar: Any = None
        self.in_a_log = not sys.stderr.isatty()
        self.began = self.told = time.monotonic()
        self.told_steps = 0

    def __enter__(self) -> "Progress":
        return self

    def add(self, steps: int, run: Any = None) -> None:
        """Count steps that were taken; `run` is the one that took them, where runs are trained one by one."""
        self.steps += steps
        if self.in_a_log:
            if (now := time.monotonic()) - self.told >= TELL_SECONDS:
                speed = (self.steps - self.told_steps) / (now - self.told)
                self.note(self._so_far(run, speed, now - self.began))
                self.told, self.told_steps = now, self.steps
            return
        if self.bar is None:
            with contextlib.suppress(ModuleNotFoundError):
                from tqdm import tqdm

                self.bar = tqdm(desc=self.title, unit=" steps", initial=self.steps, leave=False)
        if self.bar is not None:
            self.bar.update(steps)

    def _so_far(self, run: Any, speed: float, took: float) -> str:
        """How far training has come: `speed` is in steps a second, `took` in seconds since it began."""
        numbered = f"{self.over + 1}/{self.runs} " if self.runs > 1 else ""
        if run is None:
            left = f", about {_time(took / self.over * (self.runs - self.over))} left" if self.over else ""
            return f"{self.over} of {self.runs} runs are over, {speed:,.1f} steps/s{left}"
        epochs = sum(course.stage.epochs for course in run.courses)
        epoch = epochs if run.over else run.course.at(run.stage_step).epoch + 1
        done, left = f"{run.step:,} of {run.total_steps:,} steps", (run.total_steps - run.step) / speed
        so_far = f"epoch {epoch} of {epochs}, {done}, {speed:,.1f} steps/s, about {_time(left)} left"
        return f"{numbered}{RunName.of_spec(run.spec)}: {so_far}"

    def ended(self, line: str) -> None:
        """Print a line about a run that has ended."""
        self.over += 1
        self.note(f"{self.over}/{self.runs} {line}" if self.runs > 1 else line)

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        try:
            if self.bar is not None:
                self.bar.clear()
            print(line, file=sys.stderr, flush=True)
        except OSError:  # nobody reads it any more, or it goes to a full disk; the records are what counts
            flushed()

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _time(seconds: float) -> str:
    """A duration to read: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def at_once_of(text: str) -> int | None:
    """The number of runs side by side: None for `auto`, else a whole number from 1."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ConfigError(f"--at-once {text}: write auto or a whole number from 1")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reweigh.training", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "specs", nargs="+", metavar="SPEC", help="JSON file of a resolved spec, or a folder of them (plan --specs DIR)"
    )
    parser.add_argument("--time-budget", metavar="T", help="save and stop after T, e.g. 9m, with exit code 75")
    parser.add_argument("--at-once", metavar="N", default="auto", help="runs side by side on the device (auto)")
    parser.add_argument("--gpu", action="store_true", help="fail where there is no GPU, instead of using the CPU")
    parser.add_argument("--again", action="store_true", help="also train runs whose record is current")
    print_all_letters()
    os_errors.warn_of_little_memory()
    options = parser.parse_args(arguments)
    try:
        own_code.check()
        budget = None if options.time_budget is None else seconds(options.time_budget)
        paths = spec_paths(options.specs)
        specs = spec_check.read_all(paths)
        commit.look_in(path.parent for path in paths)
        return train(specs, budget, options.again, at_once_of(options.at_once), options.gpu).exit_code
    except ReweighError as error:
        print(f"reweigh: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        flushed()
        return READER_LEFT
    except (OSError, MemoryError, ImportError) as error:
        if (said := os_errors.in_words(error)) is None:
            raise
        print(f"reweigh: {said}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
