"""What training costs on this machine: `reweigh bench`.

The contenders of a group run in one process and take turns, so that whatever else the machine does affects all of
them. Ratios are taken within a round; reported are medians and quartiles over the rounds. Times are wall clock, but
those of `hessian` and `reweighting` are the processor's. Memory is measured separately from time.

If all groups run, a csv, from which `reweigh plan` predicts, and a figure are written to results/bench. A group that is
about a paper's claim is none of them: it runs when it is named, and has a csv of its own.
"""

import sys
import warnings
from pathlib import Path

from reweigh.bench.table import CSV, Line, report, write
from reweigh.config.lookup import lookup

# In the order in which they run. The first one forks, which is safest before this process has threads.
GROUPS = {
    "packed": "the five seeds of a LeNet cell side by side against one after the other",
    "throughput": "ResNet-32 on CIFAR-10 against a plain PyTorch loop (bench/plain_loop.py), fp32 and bf16",
    "steps": "each method's step against a plain step: ResNet-32 and LeNet",
    "hypergradients": "each against double backpropagation, second derivatives by every route; time and memory",
    "app-a": "TDR against example reweighting by two routes to a hypergradient; new weights over classes and batch",
    "hessian": "AutoBalance: a Hessian-vector product by route and layout in plain steps; search and retraining",
    "reweighting": "LRWOpt, LRW-Hard, Meta-Weight-Net, L2RW: whole runs over one of ERM, in time and in FLOPs",
    "penalty": "HAR: a penalised step by each route over a plain step, and public code's; time and memory",
    "bookkeeping": "the share of a step that computes nothing: batches, records, checkpoints",
    "graphs": "on a GPU: captured steps against eager ones, eight runs against one, the memory's bandwidth",
    "grid": "Snakemake's dry runs of a grid of five thousand runs: of everything, and of one figure",
}


APART = ("app-a", "hessian", "reweighting", "penalty")  # groups that run only when they are named
WHOLE = tuple(name for name in GROUPS if name not in APART)


def main(groups: list[str] | None = None, rounds: int = 7, folder: Path | None = None) -> list[Line]:
    """Measure groups (`WHOLE` if none is named) over `rounds` rounds, and print the table.

    A round of `bookkeeping` or `packed` is whole epochs or runs: these take a half or a third as many, at least two.
    Each line states its own.

    The csv and the figure are written (to `folder`, by default results/bench) only if all groups were measured, so that
    all their values are from one run; that of a group in `APART` whenever it was. Raises ConfigError for a group that
    does not exist.
    """
    chosen = [lookup("group", name, GROUPS) and name for name in groups or WHOLE]
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    from reweigh.bench.groups import MEASUREMENTS
    from reweigh.bench.measure import Bench
    from reweigh.training.memory import keep_freed_memory
    from reweigh.training.run import pick_device

    keep_freed_memory()
    bench = Bench(pick_device(), rounds, _progress)
    measured = {name: MEASUREMENTS[name](bench) for name in GROUPS if name in chosen}
    lines = [line for found in measured.values() for line in found]
    _progress("")
    print(report(lines))
    stem = (folder or CSV.parent) / CSV.stem
    for name in (name for name in APART if name in measured):
        write(measured[name], path := stem.with_name(f"{name}.csv"))
        print(f"written to {path}")
    if not set(WHOLE) <= set(chosen):
        print(f"not written to {CSV}: only a run of all groups is")
        return lines
    _write_whole([line for name in WHOLE for line in measured[name]], stem)
    return lines


def _write_whole(lines: list[Line], stem: Path) -> None:
    """The csv and the figure of all groups."""
    write(lines, stem.with_suffix(".csv"))
    print(f"written to {stem.with_suffix('.csv')}")
    try:
        from reweigh.bench.figure import draw
    except ModuleNotFoundError as missing:
        print(f"no figure: {missing.name} is not installed here")
        return
    for path in draw(lines, stem):
        print(f"written to {path}")


def _progress(text: str) -> None:
    """Show a line that the next one overwrites; nothing if this is not a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
