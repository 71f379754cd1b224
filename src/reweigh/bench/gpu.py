"""The group for GPUs only: captured steps, runs on streams of their own, the bandwidth of the memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import reweigh.bench.contenders as make
from reweigh.bench.measure import Bench, Contender, advance
from reweigh.bench.table import Line
from reweigh.training.engine import Run
from reweigh.training.gpu_check.floor import floor_bytes
from reweigh.training.graph import CapturedSteps
from reweigh.training.interleave import Lane

SIDE_BY_SIDE = 8
WARM = 8  # steps: more than are taken before a graph is captured


def graphs(bench: Bench) -> list[Line]:
    """ResNet-32, B = 128: a captured step against an eager one, a step of eight packed runs against a captured one's.

    And a captured step against the least time that its memory traffic needs (`floor_bytes`) at the bandwidth of a copy.
    """
    if bench.device.type != "cuda":
        return []
    lines: list[Line] = []
    group = "graphs, ResNet-32, B = 128"
    for precision in ("fp32", "bf16"):
        spec = make.spec_of("resnet32", precision=precision)
        eager = make.run_of(spec, bench.device)
        advance(eager, WARM)
        # CUDA captures nothing on the default stream: a captured run has a lane, as in training, also alone.
        lanes = [Lane(partial(_Job, spec, bench), bench.device) for _ in range(1 + SIDE_BY_SIDE)]
        _in_turn(lanes, WARM)
        for lane in lanes:
            check_captured(lane.job.run)
        alone, *beside = lanes
        taken = {
            f"eager step, {precision}": Contender(bench.steps_of(eager, 20), precision),
            f"captured step, {precision}": Contender(_taking_turns(bench, [alone]), precision),
        }
        lines += bench.compare(group, taken)
        captured = taken[f"captured step, {precision}"]
        packed = Contender(_taking_turns(bench, beside), precision)
        lines += bench.compare(
            group,
            {f"one captured run, {precision}": captured, f"a step of {SIDE_BY_SIDE} packed runs, {precision}": packed},
        )
        lines += _floor(bench, group, alone.job.run, captured)
    return lines


class _Job:
    """A job for a lane: a captured run without checkpoints, which shares nothing."""

    def __init__(self, spec: dict[str, Any], bench: Bench) -> None:
        self.run = make.run_of(spec, bench.device, CapturedSteps())

    def keeper(self, run: Run) -> None:
        """Save nothing."""

    def ready(self) -> bool:
        """It waits for no other run."""
        return True


def check_captured(run: Run) -> None:
    """Raise RuntimeError unless every step of a run was captured, so that no eager step is timed for a captured one."""
    assert isinstance(run.execute, CapturedSteps)
    report = run.execute.report()
    if report["eager"] or not report["captured"]:
        raise RuntimeError(f"a step that is to be timed as captured is not: {report['eager'] or 'it was not tried'}")


def _taking_turns(bench: Bench, lanes: list[Lane]) -> Callable[[], float]:
    """A block in which each lane takes some steps; the milliseconds of one of them."""
    steps = 20
    return bench.timed(partial(_in_turn, lanes, steps), steps * len(lanes))


def _in_turn(lanes: list[Lane], steps: int) -> None:
    for _ in range(steps):
        for lane in lanes:
            lane.inside(lane.step)


def _floor(bench: Bench, group: str, run: Run, alone: Contender) -> list[Line]:
    """The captured step against moving the bytes of its floor by plain copies, a read and a write each."""
    count = floor_bytes(run)
    source = torch.empty(2**28, dtype=torch.uint8, device=bench.device)
    sink = torch.empty_like(source)

    def block() -> float:
        copies = bench.timed(lambda: [sink.copy_(source) for _ in range(20)], 20)()
        return copies * count / (2 * source.numel())

    copying: Callable[[], float] = block
    name = f"its memory traffic alone, {alone.precision}"
    party = Contender(copying, alone.precision, note=f"{count / 2**20:.0f} MiB a step at least, as plain copies")
    return bench.compare(group, {name: party, f"captured step against it, {alone.precision}": alone})
