"""The lines of a csv that are made of what searches left (`analysis.searches`), computed again from their records."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.analysis.searches import BEYOND, CURVATURE, ERRORS, FIFTHS, ORACLE, RATIOS, SEARCHED, SECONDS
from reweigh.analysis.tables import logged

Body = dict[str, Any]


def values(row: Mapping[str, Any], bodies: list[Body], root: str | Path = ".") -> list[float]:
    """What each run, or each seed of a pair, gives for a line; those that give nothing are left out."""
    metric = row["metric"]
    if metric in RATIOS:
        return _ratios(row, bodies)
    if metric == ORACLE:
        return _over_oracle(row, bodies)
    found = [_value(row, body, root) for body in bodies]
    return [value for value in found if value is not None and math.isfinite(value)]


def feeds(body: Body, metric: str, epoch: float | None) -> bool:
    """Whether a run has what such a line is made of, in that epoch if it is of one."""
    if metric in SECONDS:
        return body["status"] == "finished" and (metric == "training_seconds" or len(body["stages"]) > 1)
    if metric in ERRORS:
        return epoch in epochs_of(body, metric)
    name = {**SEARCHED, **CURVATURE, BEYOND: "lambda_max"}[metric]
    if name not in (body["trace"] or {"arrays": {}})["arrays"]:
        return False
    return epoch is None or epoch in epochs_of(body, metric)


def epochs_of(body: Body, metric: str) -> list[int]:
    """The epochs at which a run has such a metric: those of the search that were measured, or had an outer step."""
    curves = body["curves"]
    if metric in ERRORS:
        known = curves.get(f"{ERRORS[metric]}_balanced_accuracy", [None] * len(curves["epoch"]))
        rows = zip(curves["epoch"], curves["stage"], known, strict=True)
        return [int(epoch) for epoch, stage, value in rows if stage == 0 and value is not None]
    options, search = body["spec"]["method_options"], body["stages"][0]
    an_epoch = math.ceil(search["steps_per_epoch"] / options["outer_every"])
    begun = math.ceil(body["trace"]["arrays"]["outer_step"][0] / an_epoch)
    first = options["from_epoch"] + 1
    return list(range(first, min(first + begun, search["epochs"] + 1)))


def _value(row: Mapping[str, Any], body: Body, root: str | Path) -> float | None:
    metric, epoch = row["metric"], _whole(row.get("epoch"))
    if metric in SECONDS:
        return _seconds(body)[SECONDS[metric]] if feeds(body, metric, None) else None
    if metric in ERRORS:
        if epoch not in epochs_of(body, metric):
            return None
        accuracy = body["curves"][f"{ERRORS[metric]}_balanced_accuracy"][body["curves"]["epoch"].index(epoch)]
        return 1.0 - float(accuracy)
    name = {**SEARCHED, **CURVATURE, BEYOND: "lambda_max"}[metric]
    found = logged(body, "outer_step", name, root=root)
    if not found:
        return None
    number, array = (one.astype(float) for one in found)
    if metric == BEYOND:
        finite = array[np.isfinite(array)]
        return float(np.count_nonzero(finite > 2) / finite.size) if finite.size else None
    length, options = body["stages"][0]["steps_per_epoch"], body["spec"]["method_options"]
    late = 1 if options["order"] == "inner-first" else 0
    mine = [place for place, step in enumerate(number.tolist()) if math.floor((step - late) / length) + 1 == epoch]
    if not mine:
        return None
    if metric in CURVATURE:
        return float(np.nanmean(array[mine]))
    return _of_fifth(array[mine[-1]], metric, int(_whole(row["class"]) or 0), body)


def _of_fifth(raw: np.ndarray, metric: str, fifth: int, body: Body) -> float:
    """The mean over the classes of a fifth of what was searched for their clusters (K',)."""
    options, classes = body["spec"]["method_options"], len(body["split"]["sizes"]["train"])
    ranks = [
        rank
        for rank in range(classes)
        if round(classes * fifth / FIFTHS) <= rank < round(classes * (fifth + 1) / FIFTHS)
    ]
    found = [float(raw[min(rank // options["cluster_size"], len(raw) - 1)]) for rank in ranks]
    if metric == "searched_multiplier" and options["multiplier"] == "sigmoid":
        found = [1 / (1 + math.exp(-value)) for value in found]
    return math.fsum(found) / len(found)


def _seconds(body: Body) -> list[float]:
    """What each stage took, by the clock at the end of its last epoch."""
    clock: dict[int, float] = {}
    for stage, seconds in zip(body["curves"]["stage"], body["curves"]["train_seconds"], strict=True):
        clock[stage] = seconds
    ends = [clock[stage] for stage in sorted(clock)]
    return [end - before for end, before in zip(ends, [0.0, *ends], strict=False)]


def _ratios(row: Mapping[str, Any], bodies: list[Body]) -> list[float]:
    """Seconds over those of the plain training of the same seed."""
    plain = {body["spec"]["seed"]: body for body in bodies if body["spec"]["method"] == row["against"]}
    found = []
    for body in bodies:
        other = plain.get(body["spec"]["seed"])
        if body["spec"]["method"] == row["method"] and other is not None:
            parts = _seconds(body)
            spent = parts[0] + parts[-1] if row["metric"] == RATIOS[0] else parts[0]
            found.append(spent / _seconds(other)[-1])
    return found


def _over_oracle(row: Mapping[str, Any], bodies: list[Body]) -> list[float]:
    """The error of each run of the line's own cell, minus the least of the other runs of its seed."""
    ours: dict[int, float] = {}
    others: dict[int, list[float]] = {}
    for body in bodies:
        error, spec = 1 - body["metrics"]["balanced_accuracy"], body["spec"]
        if spec["experiment"] == row["experiment"]:
            ours[spec["seed"]] = error
        else:
            others.setdefault(spec["seed"], []).append(error)
    return [error - min(others[seed]) for seed, error in ours.items() if seed in others]


def _whole(text: Any) -> int | None:
    """A number of a csv as a whole one; None where there is none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return int(value) if value.is_integer() else None
