"""HAR's penalised step against a plain step, and against the step of public code: time and memory.

ResNet-32, B = 128, the 30 norms in its blocks; whole steps as runs take them, batches and optimiser included, of the
stage that is penalised. By one core, then by all.

| contender                      | exact | what it does                                                             |
|--------------------------------|-------|--------------------------------------------------------------------------|
| plain step                     |       | a run of plain training                                                  |
| HAR, double backward           | yes   | `hypergrad.penalty`, in either layout                                    |
| HAR, difference                | no    | `hypergrad.penalty_difference`; the error of its gradient is in the note |
| HAR, PyTorch's double backward | yes   | `penalised_loop.py` in channels-last order, on one batch                 |
| the public code's step         | yes   | the same in NCHW, as there                                               |
"""

import copy
from collections.abc import Callable
from typing import Any

import torch

import reweigh.bench.contenders as make
from reweigh.bench.measure import Bench, Contender, advance, all_cores
from reweigh.bench.penalised_loop import PenalisedLoop
from reweigh.bench.table import Line
from reweigh.methods import har
from reweigh.training.engine import Run

LAMBDA = 10.0  # README of kaidic/HAR
EXACT: dict[str, Any] = {"route": "double-backward", "epsilon": None}
DIFFERENCE: dict[str, Any] = {"route": "difference", "epsilon": 0.003}
# Strengths by density alone, for the stage that is penalised to be the first; a step is the same with any.
OPTIONS: dict[str, Any] = {
    "lambda_": LAMBDA,
    "layers": ["blocks.*.norm1", "blocks.*.norm2"],
    "aggregate": "sum",
    "loss": None,
    "class_balance": None,
    "half": None,
    "errors_after": None,
    "noise_exponent": 0.0,
    "density_exponent": 0.4,
    "floor": None,
    "strengths": "by-class",
}


def run_of(device: torch.device, route: dict[str, Any] | None = None, layout: str = "channels-last") -> Run:
    """A run of HAR by a route, or of plain training without one, at its first step."""
    spec = make.spec_of("resnet32", layout=layout)
    if route is not None:
        spec |= {"uses": "har", "method_options": {**OPTIONS, **route}}
    return make.run_of(spec, device)


def loop_of(run: Run) -> Callable[[], None]:
    """The step of public code, on a copy of a run's model, with the run's first batch and its strengths."""
    assert isinstance(run.method, har.Method)
    batch, loop = run.course.batches.batch(0), PenalisedLoop(copy.deepcopy(run.model), "blocks.")
    strengths = LAMBDA * run.method.strengths[batch.labels]
    return lambda: loop.step(batch.inputs, batch.labels, strengths)


def gradient_of(run: Run) -> torch.Tensor:
    """The gradient of all parameters in the step that the run takes next."""
    run.advance()
    return torch.cat([value.grad.flatten() for value in run.model.parameters() if value.grad is not None])


def error(device: torch.device) -> float:
    """Of the difference at a run's first step: that of the penalty's part of the gradient, as a share of it."""
    plain, exact, found = (gradient_of(run_of(device, route)) for route in (None, EXACT, DIFFERENCE))
    return float((found - exact).norm() / (exact - plain).norm())


def steps(device: torch.device) -> dict[str, tuple[Callable[[], Any], str]]:
    """The step of each contender, and the note of its line."""
    runs = {
        "plain step": run_of(device),
        "HAR, double backward": run_of(device, EXACT),
        "HAR, double backward, NCHW": run_of(device, EXACT, "nchw"),
        "HAR, difference": run_of(device, DIFFERENCE),
    }
    found: dict[str, tuple[Callable[[], Any], str]] = {
        name: ((lambda run=run: advance(run, 1)), "")  # type: ignore[misc]
        for name, run in runs.items()
    }
    found["HAR, difference"] = (found["HAR, difference"][0], f"relative error {error(device):.2g} at the first step")
    return found | {
        "HAR, PyTorch's double backward": (loop_of(runs["HAR, double backward"]), ""),
        "the public code's step, NCHW": (loop_of(runs["HAR, double backward, NCHW"]), ""),
    }


def penalised_steps(bench: Bench) -> list[Line]:
    """Every contender against a plain step, by one core and by all."""
    title, size = make.MODELS["resnet32"]
    lines: list[Line] = []
    for threads in sorted({1, all_cores()}):
        torch.set_num_threads(threads)
        contenders, cores = {}, f"{threads} thread{'s' * (threads > 1)}"
        for name, (work, note) in steps(bench.device).items():
            bench.progress(f"penalised steps, {cores}: {name}")
            peak = bench.peak_of(work)
            contenders[name] = Contender(bench.timed(work), note=note, peak_mebibytes=peak)
        lines += bench.compare(f"penalised steps, {title}, B = {size}, {cores}", contenders)
    return lines
