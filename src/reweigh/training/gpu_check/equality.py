"""Stage 1: a dozen eager steps of every net on the GPU are those of the CPU, but for rounding."""

import functools
import os
from collections.abc import Iterator

import torch

from reweigh.training.gpu_check import cases, compare
from reweigh.training.gpu_check.checks import Check, Context, Failed

STEPS, FEW_STEPS = 12, 4  # the second on a CPU
METHODS = ("none", "tdr")  # plain steps, and ones with a hypergradient
RELATIVE, ABSOLUTE = 1e-2, 1e-3  # rounding grows from step to step


def checks(context: Context) -> Iterator[Check]:
    """A check for each net and method."""
    for net in cases.nets(context):
        for method in METHODS:
            action = functools.partial(equal, context, net, method)
            yield Check(f"{net} {method}", action, {"nets": [net]}, 90.0)


def equal(context: Context, net: str, method: str) -> str:
    """Take steps on both devices from the same weights; the largest difference. Raises Failed at a large one."""
    device = cases.device_of(context)
    spec = cases.spec_of(context, net, cases.first_of(context, method))
    steps = FEW_STEPS if context.small else STEPS
    runs = [cases.run_of(spec, one) for one in (torch.device("cpu"), device)]
    if not context.small:
        torch.set_num_threads(min(os.cpu_count() or 1, 8))
    for step in range(1, steps + 1):
        for run in runs:
            run.advance()
        cpu, gpu = (compare.weights(run) for run in runs)
        if distant := compare.first_distant(cpu, gpu, RELATIVE, ABSOLUTE):
            raise Failed(f"step {step}: {distant}")
    return f"{steps} steps, largest difference {compare.largest_distance(cpu, gpu):.2g}"
