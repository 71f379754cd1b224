"""What planning and explaining cost: Snakemake's dry runs of a made-up grid of thousands of runs, `reweigh explain`.

    measure(show=print)     # with no record and with every record: everything, one figure; then some numbers explained

Run it in the project's own folder: the grid copies its papers, workflow and notebooks.
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

import pandas as pd
import yaml

from reweigh import canonical_json
from reweigh.config import files
from reweigh.config.grid import Config
from reweigh.config.loading import load, written_out
from reweigh.data.obtain import recipe_digest
from reweigh.digest import PACKAGE, digest
from reweigh.records import record
from reweigh.streams import rng

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
SCORECARD = "results/paper/scorecard.csv"
QUESTIONS = {
    "a cell of a figure": (FIGURE, "--row", "tdr", "--column", "0.005"),
    "a gain of the scorecard": (
        SCORECARD,
        "--row",
        "Table3/TDR (printed)",
        "--where",
        f"paper={MODEL}_1",
        "--column",
        "gain",
    ),
    "a claim's corrected p": (SCORECARD, "--row", f"{MODEL}_1/accuracy-at-every-ratio", "--column", "p_holm"),
}

# The curves of a record of a hundred epochs: dry runs read records, so theirs must have a realistic size, and claims
# are judged by runs that learned something.
EPOCHS = range(1, 101)
CURVES = {
    "epoch": list(EPOCHS),
    "train_loss": [1.23456789012345 / epoch for epoch in EPOCHS],
    "test_accuracy": [0.9 - 0.4 / epoch for epoch in EPOCHS],
    "train_seconds": [0.123456789012345] * len(EPOCHS),
}


@dataclass(frozen=True)
class DryRun:
    """One dry run: the case, the target, the jobs that it planned, seconds of wall clock and of processor time."""

    case: str
    target: str
    jobs: int
    seconds: float
    cpu_seconds: float


def write(folder: str | Path, runs: int = 5000, repository: str | Path = ".") -> Config:
    """Make a project in `folder` whose grid at scale `paper` has at least `runs` runs; its config.

    Its papers are copies of MODEL with at least ten methods in every experiment that varies something.
    """
    folder, repository = Path(folder), Path(repository)
    for name in BORROWED:
        source, target = repository / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    paper = _widened(files.with_sources(written_out(repository.resolve(), MODEL)))
    config = _with_papers(folder, paper, 1)
    return _with_papers(folder, paper, math.ceil(runs / len(runs_of(config))))


def runs_of(config: Config) -> list[str]:
    """Every run of the grid."""
    return [run for paper in config.project.papers for run in config.runs("paper", paper)]


def _widened(paper: dict[str, Any]) -> dict[str, Any]:
    """A paper with more methods in its experiments."""
    for experiment in paper["experiments"].values():
        settings = experiment["settings"].get("value", experiment["settings"])
        if experiment.get("status") != "not run" and "extension" not in experiment and len(settings) > 1:
            own = {
                *experiment["methods"],
                *(name for one in experiment.get("extensions", []) for name in one["methods"]),
            }
            more = [name for name in paper["methods"] if name not in own]
            experiment["methods"] += more[: max(METHODS - len(experiment["methods"]), 0)]
    return paper


def _with_papers(folder: Path, paper: dict[str, Any], count: int) -> Config:
    """Write config/ with so many copies of a paper, and load it."""
    names = [f"{MODEL}_{number + 1}" for number in range(count)]
    for name in names:
        file = folder / f"{files.PAPERS}/{name}/paper.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(paper, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"scale": "paper", "papers": names}), encoding="utf-8")
    return load(folder)


def leave_records(config: Config) -> int:
    """Write a record for every run of the grid, current, of realistic size, with made-up numbers; their number."""
    runs = runs_of(config)
    for run in runs:
        path = record.record_path(run, config.root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            canonical_json.text_of(canonical_json.seal(_body(config, run))), encoding="utf-8"
        )  # no need to sync thousands
    return len(runs)


def _body(config: Config, run: str) -> dict[str, Any]:
    """What planning, scoring and explaining read of a record."""
    spec = config.resolve(run)
    accuracy = float(rng(spec["seed"], "made-up", spec["setting"], spec["method"]).uniform(0.8, 0.9))
    return {
        "record_version": record.RECORD_VERSION,
        "run": run,
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
        "split": {
            "path": f"data/splits/{run}.npz",
            "digest": digest(run),
            "recipe_digest": recipe_digest(spec, config.root / "data"),
            "sizes": {"train": [5, 50]},
        },
        "raw": [{"dataset": spec["data"]["dataset"], "name": "made-up", "edition": "official", "bytes": 1,
                 "sha256": digest("made-up"), "source": "made-up", "url": "https://example.org/made-up"}],
        "git": {"commit": None, "dirty": False},
        "environment": {"python": "3", "torch": "2"},
        "device": {"kind": "cpu", "name": "made-up", "precision": "fp32", "runs_at_once": 1},
        "status": "finished",
        "started": "2024-01-01T00:00:00Z",
        "ended": "2024-01-01T00:00:01Z",
        "seconds": 1.0,
        "gpu_seconds": 0.0,
        "peak_bytes": 1,
        "steps": 1,
        "diverged_at_step": None,
        "parameters": 1,
        "metrics": {
            "test_accuracy": accuracy,
            "minority_recall": accuracy,
            "confusion": [[1, 0], [0, 1]],
            "per_group_accuracy": [accuracy, accuracy],
            "group_confusion": [[[1, 0], [0, 1]]] * 2,
        },
        "curves": CURVES,
        "trace": None,
    }  # fmt: skip


def leave_tables(config: Config) -> None:
    """Write the csv of a figure, and a scorecard of the whole grid, from the records that are there."""
    from reweigh import scorecard
    from reweigh.analysis import rows, tables

    paper, name = Path(FIGURE).parent.name, Path(FIGURE).stem
    material = tables.of_artifact("paper", paper, name, config.root)
    cells = [
        (experiment, setting, method)
        for experiment in material.experiments
        for setting in material.settings(experiment)
        for method in material.methods(experiment, setting)
    ]
    lines = [
        {**rows.cell_names(material, *one), **rows.summary_row(material.of(*one), "test_accuracy")} for one in cells
    ]
    for file, text in (
        (Path(FIGURE).with_suffix(".csv"), scorecard.csv_text(pd.DataFrame(lines))),
        (Path(SCORECARD), scorecard.csv_text(scorecard.score(config, "paper"))),
    ):
        (config.root / file).parent.mkdir(parents=True, exist_ok=True)
        (config.root / file).write_text(text, encoding="utf-8")


def dry_run(folder: str | Path, case: str, *target: str) -> DryRun:
    """A dry run of Snakemake in `folder`, in a process of its own, with this package. Without a target, of everything.

    Raises CalledProcessError if it fails. Compare processor time if the machine has other work.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1", "--", *target]
    done, seconds, spent = _timed(command, folder)
    total = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return DryRun(case, " ".join(target) or "everything", int(total[1]) if total else 0, seconds, spent)


def explained(folder: str | Path, *question: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of one `reweigh explain` in `folder`, with the start of Python."""
    _, seconds, spent = _timed([sys.executable, "-m", "reweigh.cli", "explain", *question], folder)
    return seconds, spent


def _timed(command: list[str], folder: str | Path) -> tuple[subprocess.CompletedProcess[str], float, float]:
    """Run a command in `folder` with this package: the finished process, wall-clock seconds, processor seconds."""
    path = os.pathsep.join((str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int = 5000, repository: str | Path = ".", show: Callable[[str], None] = print) -> list[DryRun]:
    """Time the dry runs of a grid, with no record and with every record, of everything and of one figure.

    The times of explaining some of its numbers are shown, not returned.
    """
    dry_runs: list[DryRun] = []

    def take(folder: str, case: str) -> None:
        for target in ((), (FIGURE,)):
            dry_runs.append(run := dry_run(folder, case, *target))
            show(f"{case:18} {run.target:30} {run.jobs:6} jobs {run.seconds:8.2f} s {run.cpu_seconds:8.2f} s of a core")

    with tempfile.TemporaryDirectory(prefix="reweigh-grid-") as folder:
        config = write(folder, runs, repository)
        take(folder, "nothing built")
        take(folder, case := f"{leave_records(config)} records there")
        leave_tables(config)
        for name, question in QUESTIONS.items():
            seconds, spent = explained(folder, *question)
            show(f"{case:18} explain {name:27} {seconds:8.2f} s {spent:8.2f} s of a core")
    return dry_runs


if __name__ == "__main__":
    measure()
