"""Stage 2: no step waits for the device, and captured and replayed it is the eager step, bit for bit."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from reweigh.training.engine import Run
from reweigh.training.gpu_check import cases, compare
from reweigh.training.gpu_check.checks import Check, Context, Facts, Failed, Skipped
from reweigh.training.gpu_check.waiting import NeverWaiting, new_orders_may_wait
from reweigh.training.graph import CapturedSteps

NET = "lenet"  # for every method
METHODS = ("none", "tdr", "er")  # for every net
PRECISIONS = ("tf32", "bf16")  # of every net, by the first of these


def checks(context: Context) -> Iterator[Check]:
    """Every method on one net, then every net by a few methods, then the other precisions."""
    for case in cases.methods(context):
        yield from _pair(context, NET, case["name"], "fp32", case["uses"])
    for net in cases.nets(context):
        names = [cases.first_of(context, method) for method in METHODS]
        for name in names if net != NET else []:
            yield from _pair(context, net, name, "fp32", "")
        for precision in PRECISIONS:
            yield from _pair(context, net, names[0], precision, "")


def _pair(context: Context, net: str, method: str, precision: str, uses: str) -> Iterator[Check]:
    """The two checks of a net, a method and a precision. Where they fail, what can be trained is trained eagerly."""
    falls_back = {"capture": [uses or net]} if precision == "fp32" else {"precisions": [precision]}
    name = f"{net} {method}" + ("" if precision == "fp32" else f" {precision}")
    spec = functools.partial(cases.spec_of, context, net, method, precision=precision)
    if precision == "fp32":
        yield Check(f"{name} waits", functools.partial(never_waits, context, spec), falls_back)
    yield Check(f"{name} replay", functools.partial(replays, context, spec), falls_back)


def never_waits(context: Context, spec: Callable[[], dict[str, Any]]) -> str:
    """Take every step of a run where waiting is an error."""
    if context.device == "cpu":
        raise Skipped("a CPU is never waited for")
    device = cases.device_of(context)
    run = cases.run_of(spec(), device, kind=NeverWaiting)
    assert isinstance(run, NeverWaiting)
    with new_orders_may_wait(run.watch):
        cases.on_a_stream(device, run.finish)
    return f"{run.watched} steps of {len(run.programs)} programs; {run.watch.orders} new orders of batches may wait"


def replays(context: Context, spec: Callable[[], dict[str, Any]]) -> tuple[str, Facts]:
    """A run with captured steps against its eager twin; on a CPU, which has no graphs, two eager ones."""
    device = cases.device_of(context)

    def pair() -> list[Run]:
        return [cases.run_of(spec(), device), cases.run_of(spec(), device, cases.executor(context))]

    eager, captured = pair()
    for run in (eager, captured):
        cases.on_a_stream(device, run.finish)
    if compare.first_difference(compare.outcome(eager), compare.outcome(captured)):
        raise Failed(first_step_that_differs(device, *pair()) or "differs, but not step by step: it is not repeatable")
    diverged = "" if captured.diverged_at is None else f", diverged at step {captured.diverged_at}"
    facts = {replayed(name): True for name in (captured.spec["uses"], captured.spec["model"]["name"])}
    return f"{captured.step} steps{diverged}, {graphs_of(captured)}", facts


def replayed(name: str) -> str:
    """The fact that a method, or a net, was captured and replayed bit for bit."""
    return f"replayed {name}"


def first_step_that_differs(device: torch.device, one: Run, other: Run) -> str | None:
    """Take both runs step by step; the first step after which they differ, and in what."""
    while not one.over:
        for run in (one, other):
            cases.on_a_stream(device, run.advance)
        if differs := compare.first_difference(compare.outcome(one), compare.outcome(other)):
            return f"after step {one.step}: {differs}"
    return None


def graphs_of(run: Run) -> str:
    """What was captured, in words. Raises Failed if a program was refused."""
    if not isinstance(run.execute, CapturedSteps):
        return "repeatable; there are no CUDA graphs on a CPU"
    report = run.execute.report()
    if report["eager"]:
        program, reason = next(iter(report["eager"].items()))
        raise Failed(f"program {program} cannot be captured: {reason}")
    return f"{len(report['captured'])} programs captured"
