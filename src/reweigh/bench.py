"""What a step costs: each method against a plain step, and each hypergradient against its double-backprop twin.

All contenders run in one process and take turns, ten steps at a time (one outer cycle of TDR), so that whatever else
the machine does falls on all of them. A ratio is taken within each round; the figures are medians over rounds.
"""

import contextlib
import csv
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reweigh.config import resolve
from reweigh.data import load, manifest
from reweigh.data.split import draw
from reweigh.hypergrad import double_backprop
from reweigh.methods import base, er
from reweigh.training.engine import Run
from reweigh.training.run import device_facts, pick_device
from reweigh.weights import rectified_share

BLOCK = 10
CSV = Path("results") / "bench" / "steps.csv"

# (group, contender, run whose method it is); a group's first contender is what the others are measured against.
RESNET, LENET = "quick/tdr/cifar10-4v9-resnet20/rho0.3", "quick/tdr/mnist-4v9/rho0.005"
CONTENDERS = {
    "ResNet-20, B=50": {
        "plain step": f"{RESNET}/none",
        "TDR, t_in=10": f"{RESNET}/tdr",
        "example reweighting": f"{RESNET}/er",
        "the same by double backprop": f"{RESNET}/er",
    },
    "LeNet, B=50": {
        "plain step": f"{LENET}/none",
        "TDR, t_in=10": f"{LENET}/tdr",
        "example reweighting": f"{LENET}/er",
        "the same by double backprop": f"{LENET}/er",
    },
}


class DoubleBackprop(er.Method):
    """Example reweighting with the graph of the look-ahead kept: the yardstick for the forward-mode one."""

    def learn(self, step: base.Step) -> None:
        target = self.setting.target.batch(step.number)
        derivatives = double_backprop.example_hypergradient(
            losses=lambda at: self.losses_at(step, step.batch, at, training=True, name="train"),
            outer_loss=lambda at: self.losses_at(step, target, at, training=True, name="target").mean(),
            parameters=base.parameters_of(step.model),
            weights=torch.zeros(len(step.batch), device=step.batch.labels.device),
            step_size=1.0,
        )
        self.weights = rectified_share(-derivatives)


@dataclass(frozen=True)
class Line:
    """One contender's cost: median milliseconds a step, and the median and quartiles of its ratio to the plain step."""

    group: str
    contender: str
    milliseconds: float
    ratio: float
    low: float
    high: float


class Paused(Exception):
    """A block of steps is done."""


def advance(run: Run, steps: int) -> float:
    """Take `steps` steps of a run; the seconds that they took by the run's own clock. It can be advanced again."""
    last = run.step + steps

    def tick(at: Run) -> None:
        if at.step == last:
            raise Paused

    started = run.clock()
    with contextlib.suppress(Paused):
        run.finish(tick)
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return run.clock() - started


def spec_of(cell: str) -> dict[str, Any]:
    """The spec of a cell's first run, at the model's full size, with no evaluation and no end in reach."""
    spec = resolve(f"{cell}/seed0")
    spec["model"]["options"] = {}
    spec["training"].update(epochs=10**6, evaluate_every=10**9)
    return spec


def prepare(cell: str, contender: str, device: torch.device) -> Run:
    """A contender, warm: past its first block of steps."""
    spec = spec_of(cell)
    manifest.ensure(spec["data"]["dataset"])
    raw = load.read(spec["data"]["dataset"], spec["data"]["options"])
    run = Run(spec, raw, draw(raw, spec["data"]["split"], 0), device)
    if "double backprop" in contender:
        run.method = DoubleBackprop(run.method.options, run.method.setting)
    advance(run, BLOCK)
    return run


def measure(
    group: str, cells: dict[str, str], rounds: int, device: torch.device, progress: Callable[[str], None]
) -> list[Line]:
    """The cost of each contender of a group over `rounds` rounds, the plain step first."""
    runs = {contender: prepare(cell, contender, device) for contender, cell in cells.items()}
    seconds: dict[str, list[float]] = {contender: [] for contender in runs}
    for number in range(rounds):
        progress(f"{group}: round {number + 1} of {rounds}")
        for contender, run in runs.items():
            seconds[contender].append(advance(run, BLOCK) / BLOCK)
    plain = seconds[next(iter(seconds))]
    lines = []
    for contender, times in seconds.items():
        ratios = [own / base for own, base in zip(times, plain, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1000 * statistics.median(times)
        lines.append(Line(group, contender, milliseconds, statistics.median(ratios), low, high))
    return lines


def report(lines: list[Line], device: str) -> str:
    """The figures as a table, with the machine named, and forward mode against double backprop."""
    text = [f"steps on {device}, fp32, 1 thread; ratio to the plain step: median [quartiles]"]
    for line in lines:
        cost = f"{line.milliseconds:9.2f} ms {line.ratio:7.2f} x  [{line.low:.2f}, {line.high:.2f}]"
        text.append(f"{line.group:16} {line.contender:28} {cost}")
    for group in dict.fromkeys(line.group for line in lines):
        ratio = {line.contender: line.ratio for line in lines if line.group == group}
        share = ratio["example reweighting"] / ratio["the same by double backprop"]
        text.append(f"{group:16} example reweighting costs {share:.2f} of the same step by double backprop")
    return "\n".join(text)


def main(rounds: int = 12) -> list[Line]:
    """Measure every group, print the table, write it to results/bench/steps.csv."""
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    device = pick_device()
    torch.set_num_threads(1)

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    lines = [line for group, cells in CONTENDERS.items() for line in measure(group, cells, rounds, device, progress)]
    progress("")
    name = device_facts(device, spec_of(f"{LENET}/none"))["name"]
    print(report(lines, name))
    CSV.parent.mkdir(parents=True, exist_ok=True)
    with open(CSV, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "group", "contender", "milliseconds", "ratio", "ratio_q1", "ratio_q3", "rounds"])
        for line in lines:
            writer.writerow([name, *vars(line).values(), rounds])
    print(f"written to {CSV}")
    return lines
