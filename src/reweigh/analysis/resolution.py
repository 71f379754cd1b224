"""In which steps a result is known: a share of right answers among N examples has steps of 1/N."""

import math
from typing import Any

import numpy as np

from reweigh.analysis.groups import POSITIVE

CLOCK = 1e-3  # seconds: what starting and stopping a clock beside asynchronous work is worth
FLOAT32 = 2.0**-23  # relative: what is logged in 32 bits


def resolution(body: dict[str, Any], metric: str) -> float:
    """The step in which one run's metric is known, by its record, as a fraction; 0 for a run without a score.

    Recalls and precisions have the steps of their own class; a mean of recalls adds up the errors of its classes.
    Anything else that is counted is known no better than a share of all examples.
    """
    found = body["metrics"]
    if body["status"] != "finished" or found["confusion"] is None:
        return 0.0
    table = np.asarray(found["confusion"], float)
    sizes, predicted = table.sum(1), table.sum(0)
    if metric == "minority_recall":
        return _step(sizes[0])
    if metric == "minority_precision":
        return _step(predicted[0])
    if metric == "balanced_accuracy":
        return math.hypot(*map(_step, sizes)) / max(1, int((sizes > 0).sum()))
    if metric in ("equal_opportunity_gap", "worst_group_tpr") and (tables := found.get("group_confusion")):
        positives = [_step(sum(table[POSITIVE])) for table in tables]
        return math.hypot(*positives) if metric == "equal_opportunity_gap" else max(positives)
    measured = [count for name, count in found.items() if name.endswith("_size") and count]
    return _step(measured[0] if measured else table.sum())


def _step(examples: float) -> float:
    return 1 / float(examples) if examples else 0.0


def ratio_resolution(seconds: float, others: float) -> float:
    """The step, relative to it, in which the ratio of two times is known."""
    return math.hypot(CLOCK / seconds, CLOCK / others)
