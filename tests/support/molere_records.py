"""Made-up records of MOLERE: margins of the test examples, accuracy on the training set, a plain stretch of LRWOpt.

make(root, "paper/molere/mnist-ordering/clean/lrw_hard/seed0")        # as synthetic_records.make, and all of that
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reweigh import stats
from reweigh.plots.figure import Figure
from reweigh.records import record
from reweigh.streams import rng
from support import synthetic_records
from support.absgd_figures import with_arrays

PAPER = "paper/molere"
EXAMPLES = 500  # that have margins
GAINS = {"lrw_easy": -0.004, "lrw_random": 0.001, "lrw_hard": 0.006, "lrwopt": 0.009, "hard_removed": -0.006}
PLAIN = 0.25  # share of the epochs that LRWOpt trains plainly
SLOWER = {"lrw_hard": 2.4, "lrwopt": 1.6, "mwn": 1.4}  # seconds over ERM's


def make(root: Path, run: str, status: str = "finished", margins: bool = True) -> dict[str, Any]:
    """Write the record of a run, with invented results; return it."""
    *_, setting, method, seed = run.split("/")
    noise = rng(int(seed[4:]), "made-up accuracy", setting, method).normal(0, 0.002)
    accuracy = 0.9 + GAINS.get(method, 0.0) + noise
    synthetic_records.make(root, run, status, test_accuracy=float(accuracy))
    path = record.record_path(run, root)
    body = record.read(path)
    if status == "finished":
        _with_curves(body, method)
    record.write(path, body)
    if status == "finished" and margins:
        with_arrays(root, run, test_margins=margins_of(setting, method, int(seed[4:])))
    return record.read(path)


def _with_curves(body: dict[str, Any], method: str) -> None:
    """A training curve above the test curve, a clock, and two stages where the method has a plain stretch."""
    curves = body["curves"]
    curves["train_accuracy"] = [min(1.0, value + 0.03) for value in curves["test_accuracy"]]
    curves["train_seconds"] = [SLOWER.get(method, 1.0) * epoch for epoch in curves["epoch"]]
    body["seconds"] = curves["train_seconds"][-1]
    if method == "lrwopt":
        (whole,) = body["stages"]
        plain = round(PLAIN * whole["epochs"])
        body["stages"] = [{**whole, "name": "plain", "epochs": plain}, {**whole, "epochs": whole["epochs"] - plain}]
        curves["stage"] = [int(epoch > plain) for epoch in curves["epoch"]]


def margins_of(setting: str, method: str, seed: int) -> np.ndarray:
    """Margins of the same examples under each run: what they are, and noise of the run's own."""
    true = rng(0, "made-up examples", setting).uniform(-0.9, 0.9, EXAMPLES)
    own = rng(seed, "made-up margins", setting, method).normal(0, 0.15, EXAMPLES)
    lift = {"lrw_hard": 0.05, "lrwopt": 0.08, "lrw_easy": -0.04}.get(method, 0.0) * (1 - np.abs(true))
    return np.clip(true + own + lift, -1, 1).astype(np.float32)


# --- what tests ask of them and of figures ----------------------------------------------------------------------------


def bodies(root: Path, cell: str) -> list[dict]:
    return [record.read(path) for path in sorted((root / "results" / PAPER / cell).glob("seed*.json"))]


def accuracies(root: Path, cell: str) -> np.ndarray:
    """Test accuracy by seed; NaN where the run diverged."""
    found = [body["metrics"]["test_accuracy"] for body in bodies(root, cell)]
    return np.array([np.nan if value is None else value for value in found], float)


def kept(root: Path, cell: str) -> list[np.ndarray]:
    """Margins by seed."""
    arrays = [np.load(record.trace_path(record.record_path(body["run"], root), body)) for body in bodies(root, cell)]
    return [one["test_margins"].astype(float) for one in arrays]


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


def summary(line: pd.Series) -> list[float]:
    return [float(line[name]) for name in ("mean", "low", "high", "n")]


def expected(values: np.ndarray) -> list[float]:
    ours = stats.summarise([float(value) for value in values])
    return pytest.approx([ours.mean, ours.low, ours.high, ours.n], rel=1e-6)
