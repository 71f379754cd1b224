"""What training costs on this machine: `reweigh bench`.

Contenders of a group run in one process and take turns, so that whatever else the machine does falls on all of them;
a ratio is taken within each round, and the figures are medians and quartiles over the rounds. Seconds are those that
passed, not those of a processor. Memory is measured apart from time.

All groups together are written to results/bench: a csv, which `reweigh plan` predicts from, and a figure.
"""

import sys
import warnings
from pathlib import Path

from reweigh.bench.table import CSV, Line, report, write
from reweigh.config.validation import lookup

# In the order in which they run: the first forks, which is best done before this process has threads.
GROUPS = {
    "packed": "the five seeds of a LeNet cell side by side against one after the other",
    "throughput": "ResNet-32 on CIFAR-10 against a plain PyTorch loop (bench/plain_loop.py), fp32 and bf16",
    "steps": "each method's step against a plain step: ResNet-32 and LeNet",
    "hypergradients": "each against its twin by double backpropagation, time and memory",
    "bookkeeping": "the share of a step that is not computing: batches, records, checkpoints",
    "graphs": "on a GPU: captured steps against eager ones, eight runs against one, the memory's bandwidth",
    "grid": "Snakemake's dry run of five thousand runs, and of one figure's",
}


def main(groups: list[str] | None = None, rounds: int = 7, folder: Path | None = None) -> list[Line]:
    """Measure groups (all if none is named) over `rounds` rounds, and print the table.

    The csv and the figure are written, to `folder` or results/bench, only if all groups were measured: every value in
    them is of one run. Raises ConfigError for a group that does not exist.
    """
    chosen = [lookup("group", name, GROUPS) and name for name in groups or GROUPS]
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own forward mode
    from reweigh.bench.groups import ROOMS
    from reweigh.bench.measure import Bench
    from reweigh.training.memory import keep_freed_memory
    from reweigh.training.run import pick_device

    keep_freed_memory()
    bench = Bench(pick_device(), rounds, _progress)
    lines = [line for name in GROUPS if name in chosen for line in ROOMS[name](bench)]
    _progress("")
    print(report(lines))
    if set(chosen) != set(GROUPS):
        print(f"not written to {CSV}: that needs all groups, in one run")
        return lines
    from reweigh.bench.figure import draw

    stem = (folder or CSV.parent) / CSV.stem
    write(lines, stem.with_suffix(".csv"))
    for path in draw(lines, stem):
        print(f"written to {path}")
    print(f"written to {stem.with_suffix('.csv')}")
    return lines


def _progress(text: str) -> None:
    """A line that the next one writes over, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
