"""Stage 4: how fast. Layouts, precisions, lanes; where the time of a step goes; how far it is from its floor."""

import functools
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from reweigh.training.engine import Run, eagerly
from reweigh.training.gpu_check import cases, floor
from reweigh.training.gpu_check.capture import graphs_of
from reweigh.training.gpu_check.checks import Check, Context, Facts, Skipped
from reweigh.training.gpu_check.jobs import UnsavedJob
from reweigh.training.gpu_check.report import NOTE
from reweigh.training.interleave import Lane

NETS = ("lenet", "resnet32")
LAYOUTS = ("channels-last", "nchw")
PRECISIONS = ("fp32", "tf32", "bf16")
LANES = (4, 8, 16)
METHOD = "none"
WARM = 6  # steps: more than are taken before a graph is captured
KERNELS = 25
BATCHES = 32  # of an epoch


def checks(context: Context) -> Iterator[Check]:
    """One lane in each layout and precision, eagerly and captured; more lanes; kernels; the floor."""
    nets = [net for net in NETS if net in cases.nets(context)]
    precisions = [one for one in PRECISIONS if not context.without("precisions", one) and _runs_here(context, one)]
    for net in nets:
        yield _check(context, net, LAYOUTS[0], "fp32", 1, eager=True)
        for layout in LAYOUTS:
            for precision in precisions:
                yield _check(context, net, layout, precision, 1)
        for precision in precisions:
            for lanes in (2,) if context.small else LANES:
                yield _check(context, net, LAYOUTS[0], precision, lanes)
    for net in nets[::-1]:
        yield Check(f"{net} kernels", functools.partial(kernels, context, net))
        yield Check(f"{net} floor", functools.partial(distance_to_floor, context, net))


def _runs_here(context: Context, precision: str) -> bool:
    return context.device == "cuda" or precision == "fp32"


def _check(context: Context, net: str, layout: str, precision: str, lanes: int, eager: bool = False) -> Check:
    name = f"{net} {layout} {precision} {lanes} lanes" + (" eager" if eager else "")
    action = functools.partial(steps_a_second, context, net, layout, precision, lanes, eager, name)
    return Check(name, action, {"lanes": [str(lanes)]} if lanes > 1 else {}, 60.0)


def steps_a_second(
    context: Context, net: str, layout: str, precision: str, lanes: int, eager: bool, name: str
) -> tuple[str, Facts]:
    """Steps of some lanes in turn, timed together. Facts: steps a second of all lanes."""
    if lanes > 1 and context.without("lanes", "all"):
        raise Skipped("runs side by side are not the runs alone")
    device = cases.device_of(context)
    gc.collect()  # the runs of the check before
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    made = [Lane(functools.partial(_job, context, net, layout, precision, eager), device) for _ in range(lanes)]
    _turns(made, WARM)
    for lane in made:
        graphs_of(lane.job.run)  # else eager steps would be timed for captured ones
    rounds = _rounds(functools.partial(_turns, made), device, 0.05 if context.small else 0.7)
    started = time.perf_counter()
    _turns(made, rounds)
    floor.synchronise(device)
    rate = rounds * lanes / (time.perf_counter() - started)
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device.type == "cuda" else ""
    size = made[0].job.run.course.batches.size
    text = f"{rate:.0f} steps a second, {1000 / rate:.4f} ms each, batch {size}{memory}"
    return text, {name: rate}


def _job(context: Context, net: str, layout: str, precision: str, eager: bool) -> UnsavedJob:
    return UnsavedJob(timed_run(context, net, layout, precision, eager))


def timed_run(
    context: Context, net: str, layout: str = LAYOUTS[0], precision: str = "fp32", eager: bool = False
) -> Run:
    """A plain run of a net with the batch size of its experiment, long enough never to end."""
    batch = cases.load(context.cases)["nets"][net]["training"]["batch_size"]
    size = min(batch, 16) if context.small else batch
    training: dict[str, Any] = {"layout": layout, "drop_last": True}
    training |= {"batch_size": size, "epochs": 100_000, "evaluate_every": 100_000, "precision": precision}
    spec = cases.spec_of(context, net, cases.first_of(context, METHOD), **training)
    execute = eagerly if eager else cases.executor(context)
    return cases.run_of(spec, cases.device_of(context), execute, size * BATCHES)


def _turns(lanes: list[Lane], rounds: int) -> None:
    for _ in range(rounds):
        for lane in lanes:
            lane.inside(lane.step)


def _rounds(turns: Callable[[int], None], device: torch.device, seconds: float) -> int:
    """How many rounds take about so many seconds."""
    floor.synchronise(device)
    started = time.perf_counter()
    turns(3)
    floor.synchronise(device)
    return max(3, int(seconds / max((time.perf_counter() - started) / 3, 1e-6)))


def kernels(context: Context, net: str) -> str:
    """The kernels (on a CPU: operations) that take most of one step, a line each."""
    from torch.profiler import ProfilerActivity, profile

    device = cases.device_of(context)
    run = timed_run(context, net)
    steps = 5

    def take(count: int) -> None:
        for _ in range(count):
            run.advance()

    cases.on_a_stream(device, functools.partial(take, WARM))
    graphs_of(run)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        cases.on_a_stream(device, functools.partial(take, steps))
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(profiled.key_averages(), key=lambda event: -getattr(event, attribute))
    total = sum(getattr(event, attribute) for event in events)
    for place, event in enumerate(events[:KERNELS], 1):
        took = getattr(event, attribute)
        share = f"{took / steps:.1f} us a step ({took / max(total, 1):.0%}), {event.count / steps:g} calls"
        context.note(f"{net} kernel {place}", NOTE, f"{share}: {event.key[:120]}")
    return f"{len(events)} kernels, {total / steps / 1000:.4f} ms a step in all"


def distance_to_floor(context: Context, net: str) -> tuple[str, dict[str, Any]]:
    """The bytes of a step over the bandwidth of a copy, against the time of a captured step in fp32."""
    device = cases.device_of(context)
    bandwidth = floor.copy_bandwidth(device, 2**24 if context.small else 2**28)
    count = floor.floor_bytes(timed_run(context, net))
    least = count / bandwidth
    rate = context.facts.get(f"{net} {LAYOUTS[0]} fp32 1 lanes")
    step = "a captured step" if device.type == "cuda" else "a step"
    times = f"; {step} takes {1 / rate / least:.1f} times as long" if rate else ""
    text = f"{count / 2**20:.1f} MiB a step, a copy moves {bandwidth / 1e9:.1f} GB/s: {least * 1000:.4f} ms at least"
    return text + times, {"copy_bandwidth": bandwidth}
