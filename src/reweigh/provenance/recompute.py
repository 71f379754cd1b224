"""A line of a figure's or scorecard's csv, computed again from the records that it names."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import stats
from reweigh.results import class_weights, majority_and_minority_weights

DIFFERENCE = "_difference"  # how the metric of a paired difference ends
TOLERANCE = 1e-5  # a csv holds six significant digits


def value_of(body: dict[str, Any], metric: str, epoch: float | None = None) -> float | None:
    """A run's metric: after its last epoch, or on its curve after `epoch`; None where it is not defined."""
    if epoch is None:
        return body["metrics"].get(metric)
    curves = body["curves"]
    if metric not in curves or int(epoch) not in curves["epoch"]:
        return None
    return curves[metric][curves["epoch"].index(int(epoch))]


def line(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path = ".") -> dict[str, Any] | None:
    """Mean, sd, n, low and high of a csv line from its runs' records; None for a line that is not a mean of runs."""
    metric = row["metric"]
    if row.get("kind") == "claim":
        return None
    if metric == "class_weight":
        return _weights(row, bodies, root)
    if metric in ("majority_weight", "minority_weight"):
        return _side_weights(row, bodies, root)
    if metric.endswith(DIFFERENCE):
        return _difference(row, bodies)
    if metric not in bodies[0]["metrics"] and metric not in bodies[0]["curves"]:
        return None
    epoch = number(row.get("epoch"))
    values = [value for body in bodies if (value := value_of(body, metric, epoch)) is not None]
    ours = stats.summarise(values)
    if number(row.get("seed")) is not None:
        return {"mean": ours.mean, "n": ours.n}
    return {"mean": ours.mean, "sd": ours.sd, "n": ours.n, "low": ours.low, "high": ours.high}


def _difference(row: dict[str, Any], bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean difference of a line's method and the one that it stands `against`, on the seeds that both have."""
    metric = row["metric"].removesuffix(DIFFERENCE)
    sides: list[dict[int, float]] = [{}, {}]
    for body in bodies:
        if (value := value_of(body, metric)) is not None:
            sides[body["spec"]["method"] == row["against"]][body["spec"]["seed"]] = value
    ours = stats.summarise([value - sides[1][seed] for seed, value in sides[0].items() if seed in sides[1]])
    return {"mean": ours.mean, "sd": ours.sd, "n": ours.n, "low": ours.low, "high": ours.high}


def _side_weights(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path) -> dict[str, Any]:
    """The mean weight of the examples of frequent, or of rare, classes in one epoch, over runs."""
    side, epoch = row["metric"].removesuffix("_weight"), number(row.get("epoch"))
    frames = [frame for body in bodies if (frame := majority_and_minority_weights(body, root)) is not None]
    ours = stats.summarise([value for frame in frames for value in frame[frame["epoch"] == epoch][side].dropna()])
    return {"mean": ours.mean, "sd": ours.sd, "n": ours.n, "low": ours.low, "high": ours.high}


def _weights(row: dict[str, Any], bodies: list[dict[str, Any]], root: str | Path) -> dict[str, Any] | None:
    label = number(row.get("class"))
    traces = [trace for body in bodies if (trace := class_weights(body, root)) is not None and len(trace)]
    if label is None or not traces:
        return None
    values = np.concatenate(traces)[:, int(label)]
    low, high = np.quantile(values, (0.05, 0.95))
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "n": len(traces), "low": low, "high": high}


def differences(row: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Which numbers of a csv line are not what was computed again: `mean 0.91, should be 0.9`."""
    wrong = []
    for name, expected in again.items():
        found = number(row.get(name))
        if (found is None) != (expected is None) or (found is not None and not _close(found, float(expected))):
            wrong.append(f"{name} {'empty' if found is None else f'{found:g}'}, should be {_text(expected)}")
    return wrong


def number(text: Any) -> float | None:
    """The number in a csv field; None if it is empty or no number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(value) else value


def _close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-9)


def _text(value: float | None) -> str:
    return "empty" if value is None else f"{value:.6g}"
