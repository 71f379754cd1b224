"""Synthetic records in the format of real ones, for tests that must not train anything.

root = project(tmp_path)                                   # config, manifest, published numbers, notebooks
fill(root, "quick", "tdr", "fig5")                         # every record that fig5 needs, with plausible numbers
make(root, "quick/tdr/mnist-4v9/rho0.1/tdr/seed0", test_accuracy=0.9)
"""

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import record
from reweigh.config import load
from reweigh.data.arrays import npz_bytes
from reweigh.data.obtain import recipe_digest, split_path
from reweigh.digest import digest, file_digest
from reweigh.streams import rng

REPOSITORY = Path(__file__).parents[1]

# Roughly where each method ends at the mildest ratio, and what it loses per decade of imbalance.
LEVELS = {
    "tdr": (0.985, 0.05),
    "tdr_p": (0.94, 0.14),
    "er": (0.96, 0.12),
    "none": (0.99, 0.10),
    "hard": (0.98, 0.07),
    "rand": (0.8, 0.2),
    "constant": (0.786, 0.0),
}


def project(root: Path) -> Path:
    """A copy of the parts of the project that results are made from, without any record."""
    for name in ("config", "data/published", "notebooks", "workflow/report"):
        shutil.copytree(REPOSITORY / name, root / name)
    shutil.copy(REPOSITORY / "data/manifest.yaml", root / "data/manifest.yaml")
    (root / "data/embedded").symlink_to(REPOSITORY / "data/embedded")
    return root


def fill(
    root: Path, scale: str, paper: str, artifact: str, optional: bool = False, seeds: int | None = None
) -> list[str]:
    """Write the records that an artifact needs at a scale (`optional`: those it also draws); return their runs."""
    config = load(root)
    cells = config.cells_of(scale, paper, artifact)
    cells += config.cells_of(scale, paper, artifact, optional=True) if optional else []
    runs = [run for cell in cells for run in config.runs_of(cell)[:seeds]]
    for run in runs:
        make(root, run)
    return runs


def make(
    root: Path, run: str, status: str = "finished", split: dict[str, Any] | None = None, **metrics: Any
) -> dict[str, Any]:
    """Write the record of one run, with invented results, or `metrics` where they are given; return it.

    `split` (a described split) gives a true split digest and sizes; without it they are invented too.
    """
    spec = load(root).resolve(run)
    path = record.record_path(run, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = split["sizes"] if split else _sizes(spec)
    curves = _curves(spec, metrics)
    body = {
        "run": run,
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
        "git": {"commit": "0" * 40, "dirty": False},
        "environment": {
            "python": "3.11.0",
            "torch": "2.11.0",
            "numpy": "2.0.0",
            "platform": "test",
            "lock_digest": None,
        },
        "split": {
            "path": split_path(spec).as_posix(),
            "digest": split["digest"] if split else digest(run),
            "recipe_digest": recipe_digest(spec, root / "data"),
            "sizes": sizes,
        },
        "raw": split["raw"] if split else _raw(spec["data"]["dataset"], root),
        "device": {"kind": "cpu", "name": "a made-up processor", "threads": 1, "precision": "fp32"},
        "status": status,
        "diverged_at_step": None if status == "finished" else 7,
        "started": "2024-01-01T00:00:00Z",
        "ended": "2024-01-01T00:10:00Z",
        "seconds": curves["train_seconds"][-1] if curves["train_seconds"] else 0.0,
        "gpu_seconds": 0.0,
        "peak_bytes": 10**8,
        "steps": 100 * spec["training"]["epochs"],
        "parameters": 43746,
        "curves": curves,
        "metrics": _metrics(spec, curves, metrics),
        "trace": _trace(path, spec, sizes["train"]),
    }
    return record.write(path, body)


def _level(spec: dict[str, Any]) -> float:
    top, loss = LEVELS.get(spec["method"].removesuffix("_mean").removesuffix("_1c").removesuffix("_class"), (0.9, 0.1))
    ratio = spec["data"]["split"].get("imbalance_ratio", 10)
    noise = rng(spec["seed"], "made-up", spec["setting"], spec["method"]).normal(
        0, 0.008 if spec["method"] == "tdr" else 0.02
    )
    return float(np.clip(top - loss * np.log10(ratio / 10) + (noise if loss else 0), 0.02, 0.999))


def _curves(spec: dict[str, Any], metrics: dict[str, Any]) -> dict[str, list[Any]]:
    names = (
        "epoch",
        "train_loss",
        "effective_weight",
        "test_accuracy",
        "minority_recall",
        "minority_precision",
        "train_seconds",
    )
    epochs = 0 if spec["uses"] == "constant" else spec["training"]["epochs"]
    every = min(spec["training"]["evaluate_every"], max(epochs, 1))
    shown = list(range(every, epochs + 1, every))
    final = metrics.get("test_accuracy", _level(spec))
    noise = rng(spec["seed"], "made-up curve", spec["method"]).normal(0, 0.02, len(shown))
    rise = [1 - np.exp(-4 * epoch / epochs) for epoch in shown]
    accuracy = [float(np.clip(0.5 + (final - 0.5) * r + e * (1 - r), 0, 1)) for r, e in zip(rise, noise, strict=True)]
    accuracy[-1:] = [final] if shown else []
    recall = [max(0.0, 2 * value - 1) for value in accuracy]
    cost = 1.4 if spec["uses"] == "er" else 0.5
    columns = (
        shown, [1 - 0.9 * r for r in rise], [0.5] * len(shown), accuracy, recall,
        [None if value == 0 else min(1.0, value + 0.1) for value in recall], [cost * epoch for epoch in shown],
    )  # fmt: skip
    return dict(zip(names, (list(column) for column in columns), strict=True))


def _metrics(spec: dict[str, Any], curves: dict[str, list[Any]], given: dict[str, Any]) -> dict[str, Any]:
    accuracy = given.get("test_accuracy", _level(spec))
    two_class = spec["data"]["split"]["kind"] == "two-class"
    last = {
        name: curves[name][-1] if curves[name] and two_class else None
        for name in ("minority_recall", "minority_precision")
    }
    return {
        "test_accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "per_class_accuracy": [accuracy] * 2,
        "per_group_accuracy": None,
        **last,
        "confusion": [[1, 0], [0, 1]],
        "test_size": 1964,
        "best_epoch_test_accuracy": max([accuracy, *curves["test_accuracy"]]),
        **given,
    }


def _sizes(spec: dict[str, Any]) -> dict[str, list[int]]:
    split = spec["data"]["split"]
    if split["kind"] == "long-tail":
        train = [int(split["largest_class"] * split["imbalance_ratio"] ** (-k / 9)) for k in range(10)]
    else:
        majority = int(split.get("total", 30000) / (1 + 1 / split.get("imbalance_ratio", 2)))
        train = [split.get("total", 30000) - majority, majority]
    return {"train": train, "target": [5] * len(train), "validation": [0] * len(train), "test": [982] * len(train)}


def _trace(path: Path, spec: dict[str, Any], counts: list[int]) -> dict[str, Any] | None:
    if spec["uses"] != "tdr":
        return None
    steps, classes = 10 * spec["training"]["epochs"], len(counts)
    drift = rng(spec["seed"], "made-up weights").normal(0, 0.01, (steps, classes)).cumsum(0) / np.sqrt(steps)
    pull = np.log(np.asarray(counts, float).max() / counts) * np.linspace(0, 0.03, steps)[:, None]
    weights = np.clip(1 / classes + drift + pull, 0, None)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    arrays = {"class_weights": weights, "outer_step": np.arange(0, 10 * steps, 10, dtype=np.int32)}
    trace = path.with_suffix(".npz")
    trace.write_bytes(npz_bytes(arrays))
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes}


@functools.cache
def _raw(dataset: str, root: Path) -> list[dict[str, Any]]:
    """What a receipt would say of a data set's files, by the manifest."""
    from reweigh.data.manifest import Manifest

    edition = Manifest.load(root / "data/manifest.yaml")[dataset].editions[0]
    return [
        {"dataset": dataset, "edition": edition.name, "name": file.name, "bytes": file.bytes, "sha256": file.sha256,
         "source": "embedded", "url": file.urls[0] if file.urls else None}
        for file in edition.files
    ]  # fmt: skip
