"""Stage 5: with the time that is left, train the runs of the folder whose record is missing, in its order."""

import contextlib
import functools
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.config.names import RunName
from reweigh.errors import ReweighError
from reweigh.training import spec_check
from reweigh.training.__main__ import TRY_AGAIN, is_current
from reweigh.training.device import handed_on
from reweigh.training.gpu_check import folder
from reweigh.training.gpu_check.checks import Check, Context, Failed, Skipped
from reweigh.training.gpu_check.report import FAILED, NOTE, OK
from reweigh.training.graph import EAGER

END_SECONDS = 25.0  # for it to save its runs, and for all to be written
LEAST_SECONDS = 10.0
MOST_REASONS = 3  # for which runs are not trained, in a line
LANES = (16, 8, 4)
ENDED = re.compile(r"(?P<run>\S+/seed\d+): (?P<status>finished|diverged)")  # a line of the program that trains


def checks(context: Context) -> Iterator[Check]:
    """Calls of `python -m reweigh.training`, one for each stretch of the order with the same data and net."""
    end = time.monotonic() + context.seconds
    tried: set[Path] = set()
    waiting = left(context)
    for number in itertools.count(1):
        waiting = [path for path in waiting if path not in tried]
        seconds = end - time.monotonic() - END_SECONDS
        if context.stopped:
            return
        if not waiting or seconds < LEAST_SECONDS:
            yield Check("left", functools.partial(what_is_left, context, max(seconds, 0.0), tried))
            return
        action = functools.partial(train, context, stretch(waiting), seconds, tried)
        yield Check(f"call {number}", action, {"lanes": [str(at_once(context))]}, context.seconds)


def stretch(specs: list[Path]) -> list[Path]:
    """The first specs, as long as they have the same data and net: runs that go well side by side."""
    return next(([*alike] for _, alike in itertools.groupby(specs, _data_and_net)), [])


def _data_and_net(path: Path) -> tuple[str, str]:
    spec = spec_check.read(path)
    return spec["data"]["dataset"], spec["model"]["name"]


def left(context: Context) -> list[Path]:
    """The specs of the folder whose record is missing, without those that an earlier stage excluded."""
    return [path for path, why in open_runs(context).items() if why is None]


def open_runs(context: Context) -> dict[Path, str | None]:
    """The specs of the folder without a current record, and why they are not trained here; None for those that are."""
    specs, damaged = folder.specs_of(context.folder)
    found: dict[Path, str | None] = {}
    for path, spec in specs.items():
        try:
            if not is_current(spec):
                found[path] = excluded(context, spec)
        except (ReweighError, LookupError, TypeError, AttributeError) as error:
            found[path] = f"{path}: {error}"
    return {**found, **damaged}


def what_is_left(context: Context, seconds: float, tried: set[Path]) -> str:
    """How many runs have no current record yet. Raises Skipped if there are any, with the reasons."""
    runs = open_runs(context)
    if not runs:
        return "0 runs left"
    reasons = Counter(why for why in runs.values() if why)
    told = [f"{runs_of(count)} not trained here: {why}" for why, count in [*reasons.items()][:MOST_REASONS]]
    if called := sum(path in tried for path in runs):
        told.insert(0, f"{called} of them tried")
    raise Skipped("; ".join([f"{runs_of(len(runs))} left, {seconds:.0f} s for them", *told]))


def runs_of(count: int) -> str:
    """A number of runs, in words.

    >>> runs_of(1), runs_of(2)
    ('1 run', '2 runs')
    """
    return f"{count} run" + ("" if count == 1 else "s")


def excluded(context: Context, spec: dict[str, Any]) -> str | None:
    """Why a run is not trained here; None if it is."""
    if context.without("nets", spec["model"]["name"]):
        return "its net computes something else on this GPU"
    if context.without("runs", str(RunName.of_spec(spec))):
        return "the program that trains ended with it"
    if context.without("precisions", spec["training"]["precision"]):
        return "its precision does not repeat on this GPU"
    if context.without("experiments", folder.experiment_of(spec)):
        return "its code or its splits are not those of home"
    return None


def eager(context: Context, specs: list[Path]) -> list[str]:
    """The methods and nets of some runs whose steps may not be captured: a check of them failed, or was not taken."""
    names = {name for spec in map(spec_check.read, specs) for name in (spec["uses"], spec["model"]["name"])}
    return sorted(
        name for name in names if context.without("capture", name) or not context.shown("capture", f"replayed {name}")
    )


def at_once(context: Context) -> int:
    """How many runs to train side by side: the most that the checks allow; by measured speed, where there is one."""
    if context.device == "cpu" or context.without("lanes", "all") or not context.shown("lanes", "side by side"):
        return 1
    allowed = [lanes for lanes in LANES if not context.without("lanes", str(lanes))]
    rates = {lanes: context.facts.get(f"resnet32 channels-last fp32 {lanes} lanes", 0.0) for lanes in allowed}
    return max(allowed, key=lambda lanes: (rates[lanes], lanes), default=1)


def train(context: Context, specs: list[Path], seconds: float, tried: set[Path]) -> str:
    """One call. A line for each run that ends, or cannot be trained. Raises Failed if the program died.

    With one run at a time, that run falls back, else that number of lanes (see `checks`).
    If it did not, its specs are added to `tried`: what is left of them cannot be trained, or there was no time for it.
    """
    lanes = at_once(context)
    command = [sys.executable, "-m", "reweigh.training", *map(str, specs), "--time-budget", f"{seconds:.0f}s"]
    command += ["--at-once", str(lanes)]
    without = eager(context, specs) if context.device == "cuda" else []
    environment = {**os.environ, EAGER: ",".join([os.environ.get(EAGER, ""), *without])}
    if context.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    ended, last = 0, ""
    with started(context, command, environment) as process:
        for line in process.stderr or ():
            last = line.strip() or last
            if told := ENDED.search(line):
                ended += 1
                context.note(told["run"], OK if told["status"] == "finished" else NOTE, line[told.start("status") :])
            else:
                with contextlib.suppress(OSError):  # the disk is full
                    print(line, end="", file=sys.stderr, flush=True)
        code = process.wait()
    if code not in (0, 1, 2, TRY_AGAIN) and not context.stopped:
        text = f"{ended} of {len(specs)} runs ended, then the program did, with code {code}: {last}"
        raise Failed(text, None if lanes > 1 else {"runs": died_of(specs)})
    tried.update(specs)
    if code in (1, 2):
        context.note(runs_of(len(specs)), FAILED, last)
    text = f"{ended} of {len(specs)} runs ended, {lanes} side by side"
    text += f"; eagerly, for no replay of theirs was shown: {', '.join(without)}" if without else ""
    if context.stopped:
        return text + f"; it was asked to stop, and {'saved the others' if code == TRY_AGAIN else f'ended with {code}'}"
    return text + ("; time is up" if code == TRY_AGAIN else "")


def died_of(specs: list[Path]) -> list[str]:
    """The run that was trained when a program ended that trains one at a time: the first without a record."""
    spec = next((spec for spec in map(spec_check.read, specs) if not is_current(spec)), None)
    return [] if spec is None else [str(RunName.of_spec(spec))]


@contextlib.contextmanager
def started(context: Context, command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The program that trains. Who asks this process to end asks that program to save and stop: once, for the second
    request would end it at once. This process then waits for it, and `context.stopped` is true."""
    process: subprocess.Popen[str] | None = None

    def pass_on(number: int, frame: Any) -> None:
        if process is not None and not context.stopped:
            process.terminate()
        context.stopped = True

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, pass_fds=handed_on(), encoding="utf-8"
        )
        if context.stopped:  # before there was anything to pass it on to
            process.terminate()
        yield process
    finally:
        signal.signal(signal.SIGTERM, previous)
