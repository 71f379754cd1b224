"""In which steps a result is known: a share of right answers among N examples has steps of 1/N."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from reweigh import cells as of_classes
from reweigh.group_rates import POSITIVE, cells
from reweigh.metrics import PARTS_OF_CELLS, rare_half

CLOCK = 1e-3  # seconds: what starting and stopping a clock beside asynchronous work is worth
OF_CELLS = ("group_balanced_error", "worst_class_group_error", "deo_error", "standard_error_train_shares")
OF_GROUPS = ("mean_group_accuracy", "worst_cell_accuracy")
FLOAT32 = 2.0**-23  # relative: what is logged in 32 bits


def resolution(body: dict[str, Any], metric: str) -> float:
    """The step in which one run's metric is known, by its record, as a fraction; 0 for a run without a score.

    Recalls and precisions have the steps of their own class; a mean of recalls adds up the errors of its classes, and
    what is made from the errors of cells those of its cells.
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
    if metric == "tail_recall":
        rare = sizes[rare_half(body)]
        return math.hypot(*map(_step, rare)) / max(1, len(rare))
    if metric in ("balanced_accuracy", "balanced_error"):
        return math.hypot(*map(_step, sizes)) / max(1, int((sizes > 0).sum()))
    if metric in OF_GROUPS and (groups := _group_sizes(body)):
        steps = [_step(examples) for examples in groups]
        return max(steps) if metric == "worst_cell_accuracy" else math.hypot(*steps) / len(steps)
    if metric in ("equal_opportunity_gap", "worst_group_tpr") and (tables := found.get("group_confusion")):
        positives = [_step(sum(table[POSITIVE])) for table in tables]
        return math.hypot(*positives) if metric == "equal_opportunity_gap" else max(positives)
    if metric == "worst_group_accuracy" and (tables := found.get("group_confusion")):
        return max(_step(sum(map(sum, table))) for table in tables)
    for step in (_of_cells(body, metric), _of_classes(body, metric)):
        if step is not None:
            return step
    measured = [count for name, count in found.items() if name.endswith("_size") and count]
    return _step(measured[0] if measured else table.sum())


def _group_sizes(body: dict[str, Any]) -> list[float]:
    """Test examples of each group that has any: of cells, or of classes where these are the groups."""
    if body["metrics"].get("group_confusion"):
        return [cell.examples for cell in cells(body) or ()]
    return [size for size in np.asarray(body["metrics"]["confusion"], float).sum(1).tolist() if size]


def _of_cells(body: dict[str, Any], metric: str) -> float | None:
    """The step of a metric that is made from the errors of cells, each of which has its own; None for any other."""
    found = cells(body) if metric in OF_CELLS else None
    if not found:
        return None
    steps = [_step(cell.examples) for cell in found]
    if metric == "worst_class_group_error":
        return max(steps)
    if metric == "standard_error_train_shares":
        return math.hypot(*(step * (cell.train_share or 0.0) for step, cell in zip(steps, found, strict=True)))
    return math.hypot(*steps) / (len(steps) if metric == "group_balanced_error" else 1)


def _of_classes(body: dict[str, Any], metric: str) -> float | None:
    """The step of a mean of recalls of some classes, on the part that it is measured on; None for any other metric."""
    if metric == "validation_balanced_accuracy":
        table, chosen = of_classes.part_of(body, "validation").get("confusion"), None
    else:
        known = {
            f"{prefix}accuracy_{cell}": (part, cell) for prefix, part, _ in PARTS_OF_CELLS for cell in of_classes.CELLS
        }
        if metric not in known:
            return None
        part, cell = known[metric]
        table = of_classes.part_of(body, part).get("confusion")
        chosen = of_classes.cells(body["spec"]["data"]["split"], len(table or ())).get(cell)
    if not table:
        return None
    sizes = np.asarray(table, float).sum(1)
    kept = sizes if chosen is None else sizes[chosen]
    return math.hypot(*map(_step, kept)) / max(1, int((kept > 0).sum()))


def _step(examples: float) -> float:
    return 1 / float(examples) if examples else 0.0


def of_difference(*sides: Iterable[float]) -> float:
    """The step in which a difference, or a sum, of the values of two or more cells is known: √(Σ step²).

    `sides` has the steps of each cell's runs, of which the coarsest counts; a cell without any is known exactly. Each
    value is rounded by itself, so that the variances of the errors add up, step²/12 each (`stats.least_sd`), whether or
    not both sides are counted on the same examples. The larger step alone would take the variance of two errors for
    that of one, and pairs that agree by chance for more certain than they are.

    >>> of_difference([0.03, 0.01], [0.04])
    0.05
    >>> of_difference([0.03], [])
    0.03
    """
    return math.hypot(*(max(steps, default=0.0) for steps in sides))


def ratio_resolution(seconds: float, others: float) -> float:
    """The step, relative to it, in which the ratio of two times is known."""
    return math.hypot(CLOCK / seconds, CLOCK / others)
