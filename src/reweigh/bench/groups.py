"""The groups: what is compared with what. Each function measures one group and returns its lines, none on a device
that the group is not for.

ResNet-32 runs with all cores, as does what it is compared with; LeNet with one thread, as its runs do.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import reweigh.bench.contenders as make
from reweigh.bench.appendix_a import appendix_a
from reweigh.bench.entries import entries
from reweigh.bench.gpu import graphs
from reweigh.bench.hessian import hessian
from reweigh.bench.measure import Bench, Contender, Stopwatch, advance, all_cores
from reweigh.bench.pairs import hypergradients
from reweigh.bench.penalised_steps import penalised_steps
from reweigh.bench.reweighting import reweighting
from reweigh.bench.second_order import routes
from reweigh.bench.table import Line, method_key
from reweigh.config.names import CellName
from reweigh.data import manifest
from reweigh.training import run as training
from reweigh.training import workers
from reweigh.training.__main__ import automatic
from reweigh.training.checkpoint import Clock, Keeper
from reweigh.training.memory import keep_freed_memory, return_freed_memory

PACKED = "packed, LeNet, B = 50"
CELL = CellName.parse("paper/tdr/mnist-4v9/rho0.005/none")
SEEDS, EPOCHS = 5, 8  # as many epochs as at scale quick


# --- throughput ------------------------------------------------------------------------------------------------------


def throughput(bench: Bench) -> list[Line]:
    """ResNet-32 in the engine, at fp32 and bf16, against the plain loop with 0 or 2 loading processes.

    The better of the two loops is the baseline. A turn begins with steps that are not timed, more than the loading
    processes can have prepared while others had theirs, and ends when they have prepared all that they may. The loop
    has the C library's allocator as it is in any program, the engine as it sets it for itself.
    """
    torch.set_num_threads(all_cores())
    dataset, taken = make.cifar(), {}
    title, size = make.MODELS["resnet32"]
    if (plain_loop := make.plain_loop()) is not None:
        images, labels = make.images_of(dataset)
        for workers_ in (0, 2):
            loop = plain_loop.PlainLoop(images, labels, workers_, bench.device, size)
            taken[f"plain loop, {workers_} loading processes"] = Contender(_turn(bench, loop.advance, _as_usual, 0.3))
    for precision in ("fp32", "bf16"):
        run = make.run_of(make.spec_of("resnet32", precision=precision), bench.device)
        block = _turn(bench, partial(advance, run), keep_freed_memory)
        taken[f"the engine, {precision}"] = Contender(block, precision)
    group = f"throughput, {title}, B = {size}"
    times = bench.turns(group, taken)
    loops = [name for name in taken if name.startswith("plain")] or list(taken)[:1]
    best = min(loops, key=lambda name: statistics.median(times[name]))
    return [_spoken(line, dataset) for line in bench.lines(group, taken, times, best)]


def _as_usual() -> bool:
    return return_freed_memory(make.MODELS["resnet32"][1] * 16 * 32 * 32 * 4)  # what a layer of 16 channels puts out


def _turn(
    bench: Bench, steps_of: Callable[[int], Any], allocator: Callable[[], bool], pause: float = 0.0, steps: int = 5
) -> Callable[[], float]:
    timed = bench.timed(lambda: steps_of(steps), steps)

    def block() -> float:
        allocator()
        steps_of(4 if pause else 2)
        milliseconds = timed()
        keep_freed_memory()
        time.sleep(pause)
        return milliseconds

    return block


def _spoken(line: Line, dataset: str) -> Line:
    rate = f"{1000 * make.MODELS['resnet32'][1] / line.milliseconds:.0f} images/s of {dataset}"
    faster = "" if line.contender == line.baseline or line.ratio is None else f", {1 / line.ratio:.2f} x the baseline's"
    return replace(line, note=rate + faster)


# --- steps -----------------------------------------------------------------------------------------------------------


def benched() -> list[tuple[str, str, int]]:
    """The methods whose cards have a bench entry, plain training first: module, title, and how often it learns."""
    return [(name, entry.title, entry.cycle) for name, entry in entries().items()]


def steps(bench: Bench) -> list[Line]:
    """The step of each method against a plain step. A turn is a whole cycle of a method that learns now and then.

    All turns are within one epoch, as AutoBalance's cycle begins anew with each.
    """
    lines: list[Line] = []
    within = (bench.rounds + 1) * max(cycle for _, _, cycle in benched())
    for model, (title, size) in make.MODELS.items():
        torch.set_num_threads(1 if model == "lenet" else all_cores())
        taken = {}
        for uses, name, cycle in benched():
            run = make.at_members(make.run_of(spec := make.spec_of(model, uses), bench.device, steps=within))
            key = method_key(uses, spec["method_options"])
            taken[name] = _stepping(bench, run, max(10 if model == "lenet" else 4, cycle), model, key)
        network = make.with_method(make.run_of(make.spec_of(model), bench.device), make.WeightNetwork)
        taken["weight network, Q = 5"] = _stepping(bench, network, 5, model)
        lines += bench.compare(f"steps, {title}, B = {size}", taken)
    return lines


def _stepping(bench: Bench, run: Any, steps_: int, model: str, key: str = "") -> Contender:
    """A run that takes so many steps per turn, after a first turn that is not timed."""
    advance(run, steps_)
    size = make.MODELS[model][1]
    return Contender(
        bench.steps_of(run, steps_), model=model if key else "", batch_size=size if key else None, method=key
    )


# --- bookkeeping -----------------------------------------------------------------------------------------------------


def bookkeeping(bench: Bench) -> list[Line]:
    """Of whole epochs of TDR, which learns every tenth step, evaluation apart: the host side, the sums and the check.

    That is seeking batches (with the shuffle of each epoch), learning rate, seeds, the copies of the trace, rows of the
    curves, the checkpoint's clock, and a checkpoint written every minute. Not on a GPU, where the host runs ahead.
    """
    if bench.device.type == "cuda":
        return []
    return [_bookkeeping(bench, "resnet32", "cifar10-slice", 1), _bookkeeping(bench, "lenet", "mnist", 3)]


def _bookkeeping(bench: Bench, model: str, dataset: str, epochs: int) -> Line:
    torch.set_num_threads(1 if model == "lenet" else all_cores())
    run = make.run_of(make.spec_of(model, "tdr", dataset=dataset, evaluate_every=1), bench.device)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Keeper("bench", "bench", Clock(), Path(folder))
        saving = bench.timed(lambda: keeper.save(run))() / (1000 * keeper.every_seconds)  # share of the time
        shares, own = [], []
        for number in range(max(2, bench.rounds // 2)):
            bench.progress(f"bookkeeping: {model}, round {number + 1}")
            share, milliseconds = _epochs(bench, run, keeper, epochs)
            shares.append(share + saving)
            own.append((share + saving) * milliseconds)
    title, size = make.MODELS[model]
    note = f"{dataset}; of it checkpoints, one a minute: {saving:.2%}"
    whole = [cost / share for cost, share in zip(own, shares, strict=True)]
    party = Contender(lambda: 0.0, note=note)
    name = f"bookkeeping, {title}, B = {size}"
    return bench.line("bookkeeping", name, party, own, "the whole step", whole)


def _epochs(bench: Bench, run: Any, keeper: Keeper, epochs: int) -> tuple[float, float]:
    """Train epochs of a run: the share of bookkeeping, and the milliseconds of a step, both without evaluation."""
    taken = epochs * run.course.steps_per_epoch

    def work() -> None:
        for _ in range(taken):
            run.advance()
            keeper(run)

    with Stopwatch(run, "_device_side", "_measured") as spent, Stopwatch(run.tally, "add") as counted:
        total = bench.timed(work)()
    training_ = total - spent["_measured"]
    return (training_ - spent["_device_side"] + counted["add"]) / training_, training_ / taken


# --- packed ----------------------------------------------------------------------------------------------------------


def packed(bench: Bench) -> list[Line]:
    """The five seeds of a LeNet cell, eight epochs each, in worker processes against one after the other.

    Whole runs, in a folder of their own: forking, reading, splits, evaluation and records included. And, so that the
    choice of processes is measured too, two runs in two threads of one process against one after the other.
    """
    if bench.device.type == "cuda":
        return []
    from reweigh.config.loading import resolve  # needs pydantic

    torch.set_num_threads(1)
    specs = [resolve(str(CELL.run(seed))) for seed in range(SEEDS)]
    for spec in specs:
        spec["training"]["epochs"] = EPOCHS
    manifest.ensure("mnist")
    at_once = automatic(specs, "cpu")
    rounds = max(2, bench.rounds // 3)
    with tempfile.TemporaryDirectory(prefix="reweigh-bench-") as folder:
        _borrow(Path(folder))
        with chdir(folder):
            spent: dict[str, list[float]] = {"": [], f"{at_once} processes on {all_cores()} cores; ": []}
            alone, beside = (
                bench.timed(_metered(work, seconds))
                for work, seconds in zip(
                    (lambda: _alone(specs, bench.device), lambda: _packed(specs, at_once, bench.device)),
                    spent.values(),
                    strict=True,
                )
            )
            taken = {"five runs, one after the other": Contender(alone), "five runs side by side": Contender(beside)}
            lines = bench.compare(PACKED, taken, rounds=rounds)
    notes = [f"{label}{statistics.median(seconds):.1f} s of processors" for label, seconds in spent.items()]
    lines = [replace(line, note=note) for line, note in zip(lines, notes, strict=True)]
    return lines + _threads(bench, rounds)


def _metered(work: Callable[[], None], seconds: list[float]) -> Callable[[], None]:
    """`work`, which appends its processor time, in this process and in children that have ended, to `seconds`."""

    def metered() -> None:
        before = os.times()
        work()
        seconds.append(sum(os.times()[:4]) - sum(before[:4]))

    return metered


def _borrow(folder: Path) -> None:
    """Make a folder in which runs find the raw data, and write their records."""
    (folder / "data").mkdir()
    for name in ("raw", "embedded", "manifest.yaml"):
        (folder / "data" / name).symlink_to(Path("data", name).resolve())


def _alone(specs: list[dict[str, Any]], device: torch.device) -> None:
    training._raw.cache_clear()
    for spec in specs:
        training.Job(spec, device).finish()


def _packed(specs: list[dict[str, Any]], at_once: int, device: torch.device) -> None:
    training._raw.cache_clear()  # a worker reads for itself

    def job(spec: dict[str, Any], clock: Clock) -> training.Job:
        return training.Job(spec, device, clock, at_once)

    workers.train(specs, at_once, job, Clock(), lambda record: None)


def _threads(bench: Bench, rounds: int) -> list[Line]:
    runs = [make.run_of(make.spec_of("lenet"), bench.device) for _ in range(2)]

    def work(run: Any) -> None:
        torch.set_num_threads(1)  # of this thread
        advance(run, 200)

    def in_turn() -> None:
        for run in runs:
            work(run)

    def beside() -> None:
        threads = [threading.Thread(target=work, args=(run,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    note = "threads of one process share Python's lock"
    taken = {
        "two runs in turn": Contender(bench.timed(in_turn)),
        "two runs in two threads": Contender(bench.timed(beside), note=note),
    }
    return bench.compare(PACKED, taken, rounds=rounds)


# --- grid ------------------------------------------------------------------------------------------------------------


def dry_runs(bench: Bench) -> list[Line]:
    """The seconds of Snakemake's dry runs (see `bench.grid`): one figure's against that of everything."""
    if bench.device.type == "cuda":  # no work for a GPU, and perhaps no Snakemake beside it
        return []
    from reweigh.bench import grid

    torch.set_num_threads(1)
    lines: list[Line] = []
    runs = grid.measure(show=lambda text: bench.progress(f"grid: {' '.join(text.split())}"))
    baselines = {run.case: run for run in runs if run.target == "everything"}
    for run in runs:
        base = baselines[run.case]
        target = "everything" if run is base else "one figure"
        contender = Contender(lambda: 0.0, note=f"{run.jobs} jobs, {run.cpu_seconds:.1f} s of a core")
        name, other = f"{run.case}: {target}", f"{run.case}: everything"
        lines.append(bench.line("dry run", name, contender, [1000 * run.seconds], other, [1000 * base.seconds]))
    return lines


MEASUREMENTS: dict[str, Callable[[Bench], list[Line]]] = {
    "packed": packed,
    "throughput": throughput,
    "steps": steps,
    "hypergradients": lambda bench: hypergradients(bench) + routes(bench),
    "app-a": appendix_a,
    "hessian": hessian,
    "reweighting": reweighting,
    "penalty": penalised_steps,
    "bookkeeping": bookkeeping,
    "graphs": graphs,
    "grid": dry_runs,
}
