"""Stage 5: with the time that is left, train the runs of the folder whose record is missing, in its order."""

import functools
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.training.__main__ import TRY_AGAIN, is_current, read_spec, spec_paths
from reweigh.training.gpu_check.checks import Check, Context, Failed
from reweigh.training.gpu_check.machine import experiment_of
from reweigh.training.gpu_check.report import FAILED, NOTE, OK
from reweigh.training.graph import EAGER

CALLS = 20  # of the program that trains, at most
END_SECONDS = 25.0  # for it to save its runs, and for all to be written
LEAST_SECONDS = 10.0
LANES = (16, 8, 4)
ENDED = re.compile(r"(?P<run>\S+/seed\d+): (?P<status>finished|diverged)")  # a line of the program that trains


def checks(context: Context) -> Iterator[Check]:
    """Calls of `python -m reweigh.training`, one for each stretch of the order with the same data and net."""
    end = time.monotonic() + context.seconds
    tried: set[Path] = set()
    for number in range(1, CALLS + 1):
        specs = [path for path in left(context) if path not in tried]
        seconds = end - time.monotonic() - END_SECONDS
        if not specs or seconds < LEAST_SECONDS:
            text = f"{len(specs)} runs left, {max(seconds, 0):.0f} s for them"
            yield Check("left", functools.partial(str, text))
            return
        action = functools.partial(train, context, stretch(specs), seconds, tried)
        yield Check(f"call {number}", action, {"lanes": [str(at_once(context))]}, context.seconds)


def stretch(specs: list[Path]) -> list[Path]:
    """The first specs, as long as they have the same data and net: runs that go well side by side."""
    return next(([*alike] for _, alike in itertools.groupby(specs, _data_and_net)), [])


def _data_and_net(path: Path) -> tuple[str, str]:
    spec = read_spec(path)
    return spec["data"]["dataset"], spec["model"]["name"]


def left(context: Context) -> list[Path]:
    """The specs of the folder whose record is missing, without those that an earlier stage excluded."""
    if context.folder is None:
        return []
    chosen = []
    for path in spec_paths([str(context.folder)]):
        spec = read_spec(path)
        if excluded(context, spec) is None and not is_current(spec):
            chosen.append(path)
    return chosen


def excluded(context: Context, spec: dict[str, Any]) -> str | None:
    """Why a run is not trained here; None if it is."""
    if context.without("nets", spec["model"]["name"]):
        return "its net computes something else on this GPU"
    if context.without("precisions", spec["training"]["precision"]):
        return "its precision does not repeat on this GPU"
    if context.without("experiments", experiment_of(spec)):
        return "its splits are not those of home"
    return None


def eager(context: Context, specs: list[Path]) -> list[str]:
    """The methods and nets of some runs whose steps may not be captured: a check of them failed, or was not taken."""
    names = {name for spec in map(read_spec, specs) for name in (spec["uses"], spec["model"]["name"])}
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
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr or ():
        last = line.strip() or last
        if told := ENDED.search(line):
            ended += 1
            context.note(told["run"], OK if told["status"] == "finished" else NOTE, line[told.start("status") :])
        else:
            print(line, end="", file=sys.stderr, flush=True)
    code = process.wait()
    if code not in (0, 1, 2, TRY_AGAIN):
        raise Failed(f"{ended} of {len(specs)} runs ended, then the program did, with code {code}: {last}")
    tried.update(specs)
    if code in (1, 2):
        context.note(f"{len(specs)} runs", FAILED, last)
    text = f"{ended} of {len(specs)} runs ended, {lanes} side by side"
    text += f"; eagerly, for no replay of theirs was shown: {', '.join(without)}" if without else ""
    return text + ("; time is up" if code == TRY_AGAIN else "")
