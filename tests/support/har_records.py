"""Made-up records of HAR: recalls by noise and rarity of each class, training parts, strengths, and a clock.

make(root, "paper/har/mnist-hetero/crossed/har/seed0")        # as synthetic_records.make, and all of that
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reweigh.cells import cells
from reweigh.records import record
from reweigh.streams import rng
from support import synthetic_records
from support.absgd_figures import with_arrays

PAPER = "paper/har"
CLASSES = 10
BEST = 30.0  # λ
LEVELS = {"noisy_rare": 0.62, "noisy_common": 0.78, "clean_rare": 0.9, "clean_common": 0.97}
ERRORS = {"noisy_rare": 0.58, "noisy_common": 0.44, "clean_rare": 0.11, "clean_common": 0.03}
GAINS = {  # over ERM, by cell as in LEVELS
    "uniform": (0.03, 0.05, -0.02, -0.001),
    "uniform_mean": (0.02, 0.04, -0.01, 0.0),
    "density_only": (0.05, 0.01, 0.012, 0.001),
    "noise_only": (0.06, 0.06, 0.0, 0.002),
    "har": (0.08, 0.05, 0.011, 0.002),
    "erm_3x": (-0.02, -0.03, 0.002, 0.001),
}
SLOWER = {"uniform": 3.1, "har": 3.7, "har_difference": 2.4, "co_teaching": 2.0, "erm_3x": 3.0}  # seconds over ERM's


def make(root: Path, run: str, status: str = "finished") -> dict[str, Any]:
    """Write the record of a run, with invented results; return it."""
    synthetic_records.make(root, run, status)
    path = record.record_path(run, root)
    body = record.read(path)
    found = cells(body["spec"]["data"]["split"], CLASSES) or {"clean_common": list(range(CLASSES))}
    if status == "finished":
        _measure(body, found)
    clock = SLOWER.get(body["spec"]["method"], 1.0) * (1 + 0.02 * body["spec"]["seed"])
    body["curves"]["train_seconds"] = [clock * epoch for epoch in body["curves"]["epoch"]]
    body["seconds"] = body["curves"]["train_seconds"][-1]
    record.write(path, body)
    if status == "finished" and body["spec"]["uses"] == "har":
        errors, strengths = logged(body["spec"], found)
        with_errors = {"class_errors": errors} if body["spec"]["method_options"]["noise_exponent"] else {}
        with_arrays(root, run, strengths=strengths, **with_errors)
    return record.read(path)


def _measure(body: dict[str, Any], found: dict[str, list[int]]) -> None:
    """Recalls of the test set and of training parts, and what follows from them, in place."""
    metrics, recalls = body["metrics"], recalls_of(body["spec"], found)
    metrics["per_class_accuracy"], metrics["balanced_accuracy"] = recalls, sum(recalls) / CLASSES
    metrics["test_accuracy"], metrics["best_epoch_test_accuracy"] = (
        sum(recalls) / CLASSES,
        sum(recalls) / CLASSES + 0.01,
    )
    given = [recall - 0.05 for recall in recalls]
    body["also_measured"] = {
        "train": {"per_class_accuracy": given, "balanced_accuracy": sum(given) / CLASSES},
        "train_clean": {"per_class_accuracy": [recall - 0.002 for recall in recalls]},
        "validation": {"balanced_accuracy": sum(given) / CLASSES - 0.03},
    }


def recalls_of(spec: dict[str, Any], found: dict[str, list[int]]) -> list[float]:
    """The recall of each class: of its cell, with the method's gain there, and noise that the seed and the class have.

    Where λ is varied, the gain is the largest at BEST.
    """
    noise = rng(spec["seed"], "made-up recalls").normal(0, 0.006, CLASSES)
    own = rng(spec["seed"], "made-up gains", spec["setting"], spec["method"]).normal(0, 0.003, CLASSES)
    strength = spec["method_options"].get("lambda_")
    share = (
        1.0
        if strength is None or "lambda" not in spec["setting"]
        else math.exp(-(math.log10(strength / BEST) ** 2) / 2)
    )
    gains = dict(zip(LEVELS, GAINS.get(spec["method"], (0.004, -0.004, 0.002, 0.0)), strict=True))
    gains = gains if spec["method"] != "erm" else dict.fromkeys(LEVELS, 0.0)
    cell_of = {label: cell for cell, labels in found.items() for label in labels}
    return [
        float(np.clip(LEVELS[cell_of[k]] + share * gains[cell_of[k]] + noise[k] + own[k], 0, 1)) for k in range(CLASSES)
    ]


def logged(spec: dict[str, Any], found: dict[str, list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Held-out errors and strengths as HAR logs them, float32 (1, K)."""
    cell_of = {label: cell for cell, labels in found.items() for label in labels}
    spread = rng(spec["seed"], "made-up errors").uniform(0.8, 1.25, CLASSES)
    errors = np.array([ERRORS[cell_of[k]] * spread[k] for k in range(CLASSES)])
    sizes = np.array([500.0 if "rare" in cell_of[k] else 5000.0 for k in range(CLASSES)])
    options = spec["method_options"]
    raw = errors ** options["noise_exponent"] / sizes ** options["density_exponent"]
    return errors[None].astype(np.float32), (raw / raw.max())[None].astype(np.float32)


# --- what tests ask of them and of figures ----------------------------------------------------------------------------


def bodies(root: Path, cell: str) -> list[dict[str, Any]]:
    return [record.read(path) for path in sorted((root / "results" / PAPER / cell).glob("seed*.json"))]


def recalls(root: Path, cell: str, labels: list[int]) -> np.ndarray:
    """The mean recall of some classes, by seed; NaN where the run diverged."""
    found = [body["metrics"]["per_class_accuracy"] for body in bodies(root, cell)]
    return np.array([np.nan if of is None else sum(of[label] for label in labels) / len(labels) for of in found])


def line_of(rows: pd.DataFrame, **names: Any) -> pd.Series:
    """The one line that has these values."""
    for name, value in names.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def traced(root: Path, cell: str, name: str) -> np.ndarray:
    """What each run logged of each class, (seeds, K)."""
    paths = [record.trace_path(record.record_path(body["run"], root), body) for body in bodies(root, cell)]
    return np.stack([np.load(path)[name][-1].astype(float) for path in paths])
