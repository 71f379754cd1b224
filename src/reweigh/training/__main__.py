"""`python -m reweigh.training SPEC.json...`: train resolved specs. Needs torch, numpy and pyyaml, and no network.

Runs whose record is current are left alone. Ends with code 75 (try again later) if time ran out with work left: every
run that was begun goes on from its checkpoint next time.
"""

import argparse
import json
import re
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from reweigh import record
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.training.device import take_lease

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


def seconds(text: str) -> float:
    """A duration such as `90`, `90s`, `9m` or `1.5h`, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise ConfigError(f"{text!r} is no duration; write for example 90s, 9m or 1.5h")
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
    """Whether the run's record is there, unaltered, and what today's spec, code and split would give."""
    from reweigh.data.obtain import recipe_digest

    try:
        found = record.read(record.record_path(record.run_name(spec)))
        record.trace_path(record.record_path(record.run_name(spec)), found)
    except RecordError:
        return False
    return not record.stale_because(found, spec, recipe_digest(spec))


def train(specs: list[dict[str, Any]], time_budget: float | None = None, again: bool = False) -> int:
    """Train the runs of the specs one after another; the exit code (0, or 75 if time ran out).

    time_budget is in seconds from now. Current records are kept unless `again`. SIGTERM saves and ends like a budget.
    """
    deadline = None if time_budget is None else time.monotonic() + time_budget
    waiting = [spec for spec in specs if again or not is_current(spec)]
    if kept := len(specs) - len(waiting):
        print(f"{kept} of {len(specs)} records are current and stay", file=sys.stderr)
    if not waiting:
        return 0
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    lease = take_lease()  # before torch is imported: CUDA reads the visible devices once
    from reweigh.training.checkpoint import Keeper, OutOfTime
    from reweigh.training.run import pick_device, train_run

    device, keepers = pick_device(), []

    def keeper_of(key: str) -> Keeper:
        keepers.append(Keeper(key, deadline))
        return keepers[-1]

    previous = signal.signal(signal.SIGTERM, lambda *_: keepers[-1].stop() if keepers else sys.exit(TRY_AGAIN))
    try:
        for number, spec in enumerate(waiting):
            with Progress(f"{record.run_name(spec)} ({number + 1}/{len(waiting)})") as progress:
                done = train_run(spec, device, keeper_of, progress)
            print(summary(done), file=sys.stderr)
    except OutOfTime:
        left = len(waiting) - number
        print(
            f"time is up with {left} of {len(waiting)} runs left; the same command goes on from here", file=sys.stderr
        )
        return TRY_AGAIN
    finally:
        signal.signal(signal.SIGTERM, previous)
        if lease:
            lease.release()
    return 0


def summary(done: dict[str, Any]) -> str:
    """One line on a finished run."""
    accuracy, ended = done["metrics"]["test_accuracy"], done["status"]
    if ended == "diverged":
        ended = f"diverged at step {done['diverged_at_step']}"
    return f"{done['run']}: {ended}, test accuracy {accuracy:.4f}, {done['steps']} steps in {done['seconds']:.1f} s"


class Progress:
    """A progress bar over the steps of a run, on a terminal; silent elsewhere, or without tqdm."""

    def __init__(self, title: str) -> None:
        self.title, self.bar = title, None

    def __enter__(self) -> "Progress":
        return self

    def __call__(self, run: Any) -> None:
        if self.bar is None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ModuleNotFoundError:
                return
            self.bar = tqdm(total=run.total_steps, initial=run.step - 1, desc=self.title, unit="step", leave=False)
        if self.bar is not None:
            self.bar.update(1)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reweigh.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "specs", nargs="+", metavar="SPEC", help="JSON file of a resolved spec (reweigh plan --specs DIR)"
    )
    parser.add_argument("--time-budget", metavar="T", help="stop at a checkpoint after T, e.g. 9m, with exit code 75")
    parser.add_argument("--again", action="store_true", help="train runs whose record is current once more")
    options = parser.parse_args(arguments)
    try:
        budget = None if options.time_budget is None else seconds(options.time_budget)
        return train([read_spec(path) for path in options.specs], budget, options.again)
    except ReweighError as error:
        print(f"reweigh: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


if __name__ == "__main__":
    sys.exit(main())
