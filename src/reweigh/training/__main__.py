"""`python -m reweigh.training SPEC.json...`: train resolved specs. Needs torch, numpy and pyyaml, and no network.

Runs whose record is current are not trained. Exit code 75 (try again later) if time ran out before all were finished;
unfinished runs resume from their checkpoints next time.
"""

import argparse
import contextlib
import functools
import json
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.config.names import RunName
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.records import attestations, record
from reweigh.training import afresh
from reweigh.training.device import take_lease

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


def seconds(text: str) -> float:
    """A duration such as `90`, `90s`, `9m` or `1.5h`, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise ConfigError(f"{text!r} is not a duration; write for example 90s, 9m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def read_spec(path: str | Path) -> dict[str, Any]:
    """A resolved spec from its JSON file, as `reweigh plan --specs` wrote it."""
    try:
        spec = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such spec; write specs with: reweigh plan --specs DIR") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); write specs with: reweigh plan --specs DIR") from None
    if not isinstance(spec, dict) or spec.get("spec_version") != 1:
        raise ConfigError(f"{path}: not a spec of version 1; write specs with: reweigh plan --specs DIR")
    return spec


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


def train(
    specs: list[dict[str, Any]],
    time_budget: float | None = None,
    again: bool = False,
    at_once: int | None = None,
) -> int:
    """Train the runs of the specs; the exit code (0, or 75 if time ran out).

    `time_budget` is in seconds from now. Current records are kept unless `again`. `at_once` runs train side by side on
    the device (None: see `automatic`). SIGTERM and Ctrl-C save and stop, as the end of the time budget does.
    """
    told = afresh.start()
    deadline = told.deadline or (None if time_budget is None else time.monotonic() + time_budget)
    names = [str(RunName.of_spec(spec)) for spec in specs]
    before = {
        name: record.stamp(record.record_path(name)) for name in names
    }  # another process may write them meanwhile
    ended = {*told.finished, *told.failed}
    waiting = [
        spec for spec, name in zip(specs, names, strict=True) if name not in ended and (again or not is_current(spec))
    ]
    if kept := len(specs) - len(waiting):
        print(f"{kept} of {len(specs)} records are current: not trained again", file=sys.stderr)
    if not waiting:
        if told.failed:
            raise afresh.failure(told.failed)
        return 0
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    lease = take_lease()  # before torch is imported: CUDA reads the visible devices once
    from reweigh.training import interleave, workers
    from reweigh.training.checkpoint import Clock, OutOfTime
    from reweigh.training.run import Job, pick_device

    device, clock, written = pick_device(), Clock(deadline), []
    at_once = min(at_once or automatic(waiting, device.type), len(waiting))

    make = functools.partial(Job, device=device, at_once=at_once, before=before)

    def done(record_: dict[str, Any]) -> None:
        written.append(record_["run"])
        progress.note(summary(record_))

    with Progress(waiting) as progress, stopped_by_signals(clock):
        try:
            if device.type == "cuda":
                interleave.train(waiting, at_once, device, functools.partial(make, clock=clock), done, progress.add)
            elif at_once > 1:
                workers.train(waiting, at_once, make, clock, done, progress.add)
            else:
                for spec in waiting:
                    done(make(spec, clock=clock).finish(lambda run: progress.add(1)))
        except OutOfTime:
            left = len(waiting) - len(written)
            progress.note(f"time is up with {left} of {len(waiting)} runs left; the same command resumes from here")
            return TRY_AGAIN
        except afresh.Afresh as stop:
            progress.note(f"going on in a fresh process: {stop}")
            afresh.start_again(told.and_then(stop, written, deadline), lease.inherited if lease else {})
        finally:
            if lease:
                lease.release()
    return 0


def automatic(specs: list[dict[str, Any]], device_type: str) -> int:
    """How many runs to train side by side by default: on a GPU all of them, up to 16; on a CPU as cores allow.

    On a CPU up to four runs per core start together, so that no core idles while the last of them ends.
    """
    if device_type == "cuda":
        return min(len(specs), 16)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = max(1, cores // max(spec["training"]["threads"] for spec in specs))
    return len(specs) if fit > 1 and len(specs) <= 4 * fit else fit


@contextlib.contextmanager
def stopped_by_signals(clock: Any) -> Iterator[None]:
    """In this context SIGTERM and Ctrl-C save every run and end the process; a second one ends it at once."""

    def stop(number: int, frame: Any) -> None:
        clock.stop()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def summary(done: dict[str, Any]) -> str:
    """A finished run in one line."""
    what = "validation" if "validation_accuracy" in done["metrics"] else "test"
    accuracy, ended = done["metrics"][f"{what}_accuracy"], done["status"]
    if ended == "diverged":
        ended = f"diverged at step {done['diverged_at_step']}"
    return f"{done['run']}: {ended}, {what} accuracy {accuracy:.4f}, {done['steps']} steps in {done['seconds']:.1f} s"


class Progress:
    """A progress bar over the steps of all runs; only on a terminal, and if tqdm is installed."""

    def __init__(self, specs: list[dict[str, Any]]) -> None:
        self.title = str(RunName.of_spec(specs[0])) if len(specs) == 1 else f"{len(specs)} runs"
        self.steps = 0
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def add(self, steps: int) -> None:
        """Count steps that were taken."""
        self.steps += steps
        if self.bar is None and sys.stderr.isatty():
            with contextlib.suppress(ModuleNotFoundError):
                from tqdm import tqdm

                self.bar = tqdm(desc=self.title, unit=" steps", initial=self.steps, leave=False)
        if self.bar is not None:
            self.bar.update(steps)

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.clear()
        print(line, file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def at_once_of(text: str) -> int | None:
    """The number of runs side by side: None for `auto`, else a whole number from 1."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--at-once {text}: write auto or a whole number from 1")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reweigh.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "specs", nargs="+", metavar="SPEC", help="JSON file of a resolved spec (reweigh plan --specs DIR)"
    )
    parser.add_argument("--time-budget", metavar="T", help="save and stop after T, e.g. 9m, with exit code 75")
    parser.add_argument("--at-once", metavar="N", default="auto", help="runs side by side on the device (auto)")
    parser.add_argument("--again", action="store_true", help="also train runs whose record is current")
    options = parser.parse_args(arguments)
    try:
        budget = None if options.time_budget is None else seconds(options.time_budget)
        specs = [read_spec(path) for path in options.specs]
        return train(specs, budget, options.again, at_once_of(options.at_once))
    except ReweighError as error:
        print(f"reweigh: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


if __name__ == "__main__":
    sys.exit(main())
