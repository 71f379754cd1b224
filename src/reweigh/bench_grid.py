"""What planning costs: a made-up grid of thousands of runs, and the seconds of Snakemake's dry run of it.

    measure(lines=print)        # a table: nothing built, every record there; the whole grid, one figure

Run it in the project's own folder, whose papers, workflow and notebooks the grid borrows.
"""

import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reweigh import record
from reweigh.config import Config, load
from reweigh.data.obtain import recipe_digest
from reweigh.digest import PACKAGE, digest

BORROWED = (
    "Snakefile",
    "workflow",
    "profiles",
    "notebooks",
    "config/costs.yaml",
    "data/manifest.yaml",
    "data/published",
)
MODEL, METHODS = "tdr", 10
FIGURE = f"figures/paper/{MODEL}_1/fig5.pdf"

# The arrays of a record of a hundred epochs; dry runs read records, so these have a true size.
CURVES = {name: [0.123456789012345] * 100 for name in ("epoch", "train_loss", "test_accuracy", "train_seconds")}


@dataclass(frozen=True)
class DryRun:
    """One dry run: what was asked for, the jobs that it planned, seconds that passed, seconds of processor time."""

    case: str
    target: str
    jobs: int
    seconds: float
    cpu_seconds: float


def write(folder: str | Path, runs: int = 5000, repository: str | Path = ".") -> Config:
    """A project in `folder` whose grid at scale `paper` has at least `runs` runs; its config.

    It has papers enough, each of them config/papers/tdr.yaml with ten methods in every experiment that varies anything.
    """
    folder, repository = Path(folder), Path(repository)
    for name in BORROWED:
        source, target = repository / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    paper = _widened(yaml.safe_load((repository / f"config/papers/{MODEL}.yaml").read_text()))
    config = _with_papers(folder, paper, 1)
    return _with_papers(folder, paper, math.ceil(runs / len(runs_of(config))))


def runs_of(config: Config) -> list[str]:
    """Every run of the grid."""
    return [run for paper in config.settings.papers for run in config.runs("paper", paper)]


def _widened(paper: dict[str, Any]) -> dict[str, Any]:
    """A paper's file with more methods in its experiments."""
    for experiment in paper["experiments"].values():
        settings = experiment["settings"].get("value", experiment["settings"])
        if experiment.get("status") != "not run" and "extension" not in experiment and len(settings) > 1:
            experiment |= {"methods": list(paper["methods"])[:METHODS], "extensions": []}
    return paper


def _with_papers(folder: Path, paper: dict[str, Any], count: int) -> Config:
    """Write config/ with so many copies of a paper, and load it."""
    (folder / "config/papers").mkdir(parents=True, exist_ok=True)
    names = [f"{MODEL}_{number + 1}" for number in range(count)]
    for name in names:
        (folder / f"config/papers/{name}.yaml").write_text(yaml.safe_dump(paper, sort_keys=False, allow_unicode=True))
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"scale": "paper", "papers": names}))
    return load(folder)


def leave_records(config: Config) -> int:
    """A record for every run of the grid, current and of true size, as far as planning reads it; how many there are."""
    runs = runs_of(config)
    for run in runs:
        spec = config.resolve(run)
        body = {
            "run": run,
            "spec": spec,
            "spec_digest": digest(spec),
            "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
            "split": {"recipe_digest": recipe_digest(spec, config.root / "data")},
            "curves": CURVES,
            "trace": None,
        }
        record.write(record.record_path(run, config.root), body)
    return len(runs)


def dry_run(folder: str | Path, case: str, *target: str) -> DryRun:
    """Let Snakemake plan in `folder`, in a process of its own with this package; raises CalledProcessError if it fails.

    Without a target it plans everything. Processor time is what tells where the machine has other work.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1", "--", *target]
    path = os.pathsep.join((str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    total = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return DryRun(case, " ".join(target) or "everything", int(total[1]) if total else 0, seconds, spent)


def measure(runs: int = 5000, repository: str | Path = ".", show: Callable[[str], None] = print) -> list[DryRun]:
    """Time the dry runs of a grid: with nothing built and with every record there, of everything and of one figure."""
    found: list[DryRun] = []

    def take(folder: str, case: str) -> None:
        for target in ((), (FIGURE,)):
            found.append(one := dry_run(folder, case, *target))
            show(f"{case:18} {one.target:30} {one.jobs:6} jobs {one.seconds:8.2f} s {one.cpu_seconds:8.2f} s of a core")

    with tempfile.TemporaryDirectory(prefix="reweigh-grid-") as folder:
        config = write(folder, runs, repository)
        take(folder, "nothing built")
        take(folder, f"{leave_records(config)} records there")
    return found


if __name__ == "__main__":
    measure()
