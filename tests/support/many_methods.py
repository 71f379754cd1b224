"""Made-up records of many methods at many settings of two data sets, and an artifact that shows them all."""

from pathlib import Path

import numpy as np

from reweigh.analysis import tables
from reweigh.analysis.tables import Material
from reweigh.config.loading import load
from reweigh.config.models import Artifact, Reads
from support import synthetic_records

PAPER, BASELINE = "absgd", "sgd_ce"
SEEDS = 3


def material(root: Path, experiments: dict[str, list[str]], paper: str = PAPER) -> Material:
    """What an artifact of the project at `root` would be rendered from that shows these methods of each experiment."""
    config = load(root)
    reads = [Reads(experiment=name, methods=methods) for name, methods in experiments.items()]
    artifact = Artifact(
        title="All methods on one ground", kind="figure", notebook="none.ipynb", caption="none.rst", reads=reads
    )
    runs = [
        run
        for name, methods in experiments.items()
        for run in config.runs("paper", paper, name)
        if any(f"/{method}/seed" in run for method in methods)
    ]
    records = tables.records_of(runs, root)
    none = tables.published(config, paper)
    return Material(config, "paper", paper, "ground", artifact, tables.table(records), records, none)


def fill(
    root: Path, experiments: dict[str, list[str]], paper: str = PAPER, spread: float = 0.01, seeds: int = SEEDS
) -> None:
    """Records of all settings and so many seeds; methods differ by about `spread`, and half of it more by setting."""
    config = load(root)
    methods = list(dict.fromkeys(name for names in experiments.values() for name in names))
    worth = dict(zip(methods, np.linspace(spread, -spread, len(methods)), strict=True))
    random = np.random.default_rng(0)
    for name, names in experiments.items():
        for setting in config.settings_of("paper", paper, name):
            level, shared = random.uniform(0.5, 0.8), random.normal(0, 0.004, seeds)
            for method in names:
                mean = level + worth[method] + random.normal(0, spread / 2)
                for seed in range(seeds):
                    run = f"paper/{paper}/{name}/{setting}/{method}/seed{seed}"
                    accuracy = mean + shared[seed] + random.normal(0, 0.003)
                    synthetic_records.make(root, run, test_accuracy=float(np.clip(accuracy, 0, 1)))
