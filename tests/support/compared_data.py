"""A project with a table of a user's own to compare methods on, and made-up records of such a comparison."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.config import files
from reweigh.config.grid import Config
from reweigh.config.names import RunName
from reweigh.planning.import_parts import Asked
from reweigh.planning.importing import imported
from support import ROOT

CLASSES = ("common", "rare", "rarest")
TITLE = "заявки $5 & <b>$.csv"


def project(folder: Path, monkeypatch: Any) -> Path:
    """A folder that is a project with one paper, without a record, and the current one as long as a test takes."""
    others = shutil.ignore_patterns("absgd", "autobalance", "har", "molere", "compare")
    for name in ("config", "notebooks", "workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=others)
    text, named = (folder / files.CONFIG).read_text(), "papers: [tdr, absgd, autobalance, molere, har, compare]"
    assert named in text
    (folder / files.CONFIG).write_text(text.replace(named, "papers: [tdr]"))
    (folder / files.PUBLISHED).mkdir(parents=True)
    shutil.copy(ROOT / files.PUBLISHED / "tdr.csv", folder / files.PUBLISHED)
    for name in ("data/manifest.yaml", "Snakefile", "CITATION.cff"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data/embedded").symlink_to(ROOT / "data/embedded")
    monkeypatch.chdir(folder)
    return folder


def table(path: Path, rows: int = 600, seed: int = 0) -> Path:
    """A csv of three classes, the last of which has one row in twenty, which four columns tell apart a bit."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, rows, p=[0.8, 0.15, 0.05])
    columns = generator.normal(size=(rows, 4)) + 1.5 * np.eye(3, 4)[labels]
    groups = generator.choice(["f", "m"], rows)
    lines = [
        ",".join([*(f"{value:.4f}" for value in row), group, CLASSES[label]])
        for row, group, label in zip(columns, groups, labels, strict=True)
    ]
    path.write_text("a,b,c,d,sex,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def card(folder: Path, rows: int = 600, group: str | None = None, name: str = "claims") -> dict[str, Any]:
    """The card of such a table, imported."""
    return imported(table(folder / TITLE, rows), Asked(label="label", group=group, name=name)).card


def confusion(recalls: Any, sizes: Any) -> list[list[int]]:
    """Counts (labels, predictions) with these recalls; what is wrong is taken for the next class."""
    counts = np.zeros((len(sizes), len(sizes)), int)
    for label, (recall, size) in enumerate(zip(recalls, sizes, strict=True)):
        right = round(recall * size)
        counts[label, label] += right
        counts[label, (label + 1) % len(sizes)] += size - right
    return counts.tolist()


def body(
    config: Config, run: str, counts: list[list[int]], seconds: float = 10.0, status: str = "finished"
) -> dict[str, Any]:
    """What of a record a comparison reads, in memory, of a run that ends with these counts."""
    name, table = RunName.parse(run), np.array(counts)
    recalls = [float(row[label] / row.sum()) for label, row in enumerate(table)]
    return {
        "run": run,
        "spec": config.resolve(run),
        "status": status,
        "steps": 10,
        "seconds": 2 * seconds,
        "gpu_seconds": 0.0,
        "peak_bytes": 1,
        "device": {"kind": "cpu", "name": "a processor", "runs_at_once": 1},
        "digest": f"{name}",
        "raw": [],
        "split": {"sizes": {"train": [400, 80, 20]}},
        "curves": {"epoch": [1], "train_seconds": [seconds], "train_loss": [0.5], "test_accuracy": [0.5]},
        "metrics": {
            "test_accuracy": float(np.trace(table) / table.sum()),
            "balanced_accuracy": float(np.mean(recalls)),
            "per_class_accuracy": recalls,
            "per_group_accuracy": [0.9, 0.7],
            "minority_recall": None,
            "minority_precision": None,
            "best_epoch_test_accuracy": 0.5,
            "confusion": counts,
            "test_size": int(table.sum()),
        },
    }
