"""What a run logged on its way, as one number: how far a learned value wanders, how it goes with class size, what a
curve comes to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import metrics, stats
from reweigh.analysis.tables import logged

STEP = "outer_step"  # the trace that has the step of each row, counted from 0 over the whole run


# --- learned values --------------------------------------------------------------------------------------------------


def by_epoch(body: Mapping[str, Any], name: str, root: str | Path = ".") -> np.ndarray | None:
    """The last row of each epoch of what a run logged under `name`, float64 (epochs, ...); epochs without one left out.

    None if it logged no such thing. Without steps beside them all rows count.
    """
    if (arrays := logged(dict(body), name, root=root)) is None:
        return None
    values = arrays[0].astype(float)
    if (steps := logged(dict(body), STEP, root=root)) is None or len(values) < 2:
        return values
    epochs = np.searchsorted(_epoch_ends(body), steps[0], side="right")
    return values[np.append(np.flatnonzero(np.diff(epochs)), len(values) - 1)]


def _epoch_ends(body: Mapping[str, Any]) -> np.ndarray:
    """The number of steps after each epoch, over all stages (epochs,)."""
    steps = [stage["steps_per_epoch"] for stage in body["stages"] for _ in range(stage["epochs"])]
    return np.cumsum(steps)


def total_variation(values: np.ndarray) -> float:
    """How far values (rows, ...) wander: the sum of the absolute changes from row to row, as a mean over entries.

    >>> total_variation(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    1.5
    """
    return float(np.abs(np.diff(values, axis=0)).sum(0).mean())


def correlation_with_size(values: np.ndarray) -> float | None:
    """Spearman's correlation with class size of values (K,) that stand in the order of it, the largest class first.

    None for tables of several dimensions, and where nothing varies.

    >>> correlation_with_size(np.array([3.0, 2.0, 2.5, 0.0]))
    0.8
    """
    if values.ndim != 1:
        return None
    found = stats.spearman(values.tolist(), list(range(len(values), 0, -1)))
    return None if found is None else round(found, 12)


# --- curves ----------------------------------------------------------------------------------------------------------


def best_of_curve(body: Mapping[str, Any], metric: str, part: str, stage: str | None = None) -> float | None:
    """The best value of a metric (see `metrics.OF_CURVES`) on a part over the evaluated epochs, of one stage or of all.

    None where that part was not measured.
    """
    values = stats.numbers(_curve(body, metric, part, stage))
    if not values:
        return None
    return min(values) if metrics.of(metric).direction < 0 else max(values)


def end_of_curve(body: Mapping[str, Any], metric: str, part: str, stage: str | None = None) -> float | None:
    """The value of a metric on a part at the last evaluated epoch, of one stage or of the run.

    None where that part was not measured, or has no number then.
    """
    last = stats.numbers(_curve(body, metric, part, stage)[-1:])
    return last[0] if last else None


def _curve(body: Mapping[str, Any], metric: str, part: str, stage: str | None) -> list[float | None]:
    """The values at the evaluated epochs, of one stage or of all; none where that part was not measured."""
    ending, less = metrics.OF_CURVES[metric]
    curve = body["curves"].get(f"{part}_{ending}")
    names = [one["name"] for one in body["stages"]]
    if curve is None or (stage is not None and stage not in names):
        return []
    places = body["curves"].get("stage") or [0] * len(curve)
    kept = [value for value, place in zip(curve, places, strict=True) if stage in (None, names[place])]
    return [1 - value if less and value is not None else value for value in kept]


def curve_step(body: Mapping[str, Any], metric: str, part: str) -> float:
    """The step in which a value of such a curve is known: one example, of all or of each class."""
    sizes = [size for size in body["split"]["sizes"].get(part, []) if size]
    if not sizes:
        return 0.0
    if metrics.OF_CURVES[metric][0] == "accuracy":
        return 1 / sum(sizes)
    return float(np.hypot.reduce([1 / size for size in sizes])) / len(sizes)
