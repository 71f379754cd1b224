"""Stage 3: runs side by side are the runs alone, and a run that is stopped and resumed is the run."""

import functools
import io
from collections.abc import Iterator
from typing import Any

import torch

from reweigh.training import interleave, sealed
from reweigh.training.gpu_check import cases, compare
from reweigh.training.gpu_check.capture import graphs_of
from reweigh.training.gpu_check.checks import Check, Context, Facts, Failed
from reweigh.training.gpu_check.jobs import UnsavedJob

LANES = 4
METHODS = ("none", "tdr", "er")
NETS = ("lenet", "resnet32")  # one without and one with batch norm
SIDE_BY_SIDE = "side by side"  # the fact that runs are then the runs alone
STOP = 17  # in the middle of an epoch, after graphs were captured; of 18 steps on a CPU


def checks(context: Context) -> Iterator[Check]:
    """Both, for a few nets and methods."""
    nets = [net for net in NETS if net in cases.nets(context)]
    for net in nets:
        for method in METHODS[: 2 if net == NETS[0] else 1] if context.small else METHODS:
            name = cases.first_of(context, method)
            yield Check(f"{net} {name} resume", functools.partial(resumes, context, net, name), {"nets": [net]})
    for net in nets:
        yield Check(f"{net} {LANES} lanes", functools.partial(side_by_side, context, net), {"lanes": ["all"]})


def resumes(context: Context, net: str, method: str) -> str:
    """Stop a run, let another object load its state and finish, and compare it with one that was never stopped."""
    device, spec = cases.device_of(context), cases.spec_of(context, net, method)
    whole, first, second = (cases.run_of(spec, device, cases.executor(context)) for _ in range(3))
    cases.on_a_stream(device, whole.finish)
    if whole.diverged_at is not None:
        raise Failed(f"diverged at step {whole.diverged_at}")
    saved = io.BytesIO()

    def stop() -> None:
        for _ in range(STOP):
            first.advance()
        torch.save(first.state(), saved)

    cases.on_a_stream(device, stop)
    saved.seek(0)
    second.load_state(sealed.load(saved, device))
    cases.on_a_stream(device, second.finish)
    for run in (whole, second):
        graphs_of(run)
    if differs := compare.first_difference(compare.outcome(whole), compare.outcome(second)):
        raise Failed(f"stopped after step {STOP}: {differs}")
    return f"stopped after step {STOP} of {whole.step}"


def job(context: Context, spec: dict[str, Any]) -> UnsavedJob:
    """A job of a short run."""
    return UnsavedJob(cases.run_of(spec, cases.device_of(context), cases.executor(context)))


def side_by_side(context: Context, net: str) -> tuple[str, Facts]:
    """Runs of all methods and some seeds: each alone, then four at once."""
    device = cases.device_of(context)
    names = [cases.first_of(context, method) for method in (METHODS[:2] if context.small else METHODS)]
    specs = [cases.spec_of(context, net, name, seed) for seed in (0, 1) for name in names]
    alone = []
    for spec in specs:
        solo = job(context, spec)
        cases.on_a_stream(device, solo.run.finish)
        graphs_of(solo.run)
        alone.append(solo.write())
    packed: list[dict[str, Any]] = []
    interleave.train(specs, LANES, device, functools.partial(job, context), packed.append)
    for record in packed:
        expected = alone[specs.index(record["spec"])]
        if differs := compare.first_difference(expected["outcome"], record["outcome"]):
            raise Failed(f"{record['spec']['method']} seed {record['spec']['seed']}: {differs}")
    if len(packed) != len(specs):
        raise Failed(f"{len(packed)} of {len(specs)} runs ended")
    return f"{len(specs)} runs, {LANES} at once", {SIDE_BY_SIDE: True}
