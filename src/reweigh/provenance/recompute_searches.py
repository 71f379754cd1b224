"""The lines of a csv that are made of what searches left (`analysis.searches`), computed again from their records."""

import functools
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reweigh import canonical_json
from reweigh.analysis.searches import BEYOND, CURVATURE, ERRORS, FIFTHS, ORACLE, RATIOS, SEARCHED, SECONDS, STEPS
from reweigh.analysis.tables import logged
from reweigh.digest import canonical

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


def feeds(body: Body, metric: str, epoch: float | None, root: str | Path = ".") -> bool:
    """Whether a run has what such a line is made of, in that epoch if it is of one."""
    if metric in SECONDS:
        return body["status"] == "finished" and (metric == "training_seconds" or len(body["stages"]) > 1)
    if metric in STEPS:
        return _log_step(body, STEPS[metric], root) is not None
    if metric == BEYOND:
        return bool(np.isfinite(_logged(body, "lambda_max", root)[1]).any())
    return epoch in epochs_of(body, metric, root)


def epochs_of(body: Body, metric: str, root: str | Path = ".") -> list[int]:
    """The epochs at which a run has such a metric: those of the search that were measured, or had an outer step."""
    curves = body["curves"]
    if metric in ERRORS:
        known = curves.get(f"{ERRORS[metric]}_balanced_accuracy", [None] * len(curves["epoch"]))
        rows = zip(curves["epoch"], curves["stage"], known, strict=True)
        return [int(epoch) for epoch, stage, value in rows if stage == 0 and value is not None]
    if metric in SEARCHED and body["status"] != "finished":
        return []
    log = _log_of(body, {**SEARCHED, **CURVATURE}[metric], root)
    return list(_finite_epochs(log)) if log else []


def _logged(body: Body, name: str, root: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The epoch of each outer step and what was logged at it; both empty for a run that logged no such thing."""
    log = _log_of(body, name, root)
    return _arrays(log) if log else (np.zeros(0, int), np.zeros((0, 1)))


class Log(NamedTuple):
    """One array of a trace, and what places its rows: steps an epoch, and whether they come after the step of θ."""

    root: str
    run: str
    trace: bytes  # what the record says of it, as JSON
    name: str
    length: int
    late: bool


def _log_of(body: Body, name: str, root: str | Path) -> Log | None:
    """What a run logged under a name; None if it logged no such thing."""
    trace = body["trace"]
    if not trace or not {name, "outer_step"} <= set(trace["arrays"]):
        return None
    late = body["spec"]["method_options"]["order"] == "inner-first"
    length = body["stages"][0]["steps_per_epoch"]
    return Log(str(root), body["run"], canonical(trace), name, length, late)


@functools.lru_cache(maxsize=2048)
def _finite_epochs(log: Log) -> tuple[int, ...]:
    """The epochs that have an outer step at which all that was logged is a number; the lines of a csv ask for each."""
    epochs, array = _arrays(log)
    finite = np.isfinite(array.reshape(len(array), -1)).all(1)
    return tuple(int(epoch) for epoch in np.unique(epochs[finite]))


@functools.lru_cache(maxsize=512)
def _arrays(log: Log) -> tuple[np.ndarray, np.ndarray]:
    found = logged({"run": log.run, "trace": canonical_json.parse(log.trace)}, "outer_step", log.name, root=log.root)
    assert found is not None
    steps, array = found[0].astype(float), found[1].astype(float)
    return np.array([math.floor((step - log.late) / log.length) + 1 for step in steps.tolist()]), array


def _value(row: Mapping[str, Any], body: Body, root: str | Path) -> float | None:
    metric, epoch = row["metric"], _whole(row.get("epoch"))
    if metric in SECONDS:
        return _seconds(body)[SECONDS[metric]] if feeds(body, metric, None) else None
    if metric in ERRORS:
        if epoch not in epochs_of(body, metric):
            return None
        accuracy = body["curves"][f"{ERRORS[metric]}_balanced_accuracy"][body["curves"]["epoch"].index(epoch)]
        return 1.0 - float(accuracy)
    if metric in STEPS:
        return _log_step(body, STEPS[metric], root)
    if not feeds(body, metric, epoch, root):
        return None
    epochs, array = _logged(body, {**SEARCHED, **CURVATURE, BEYOND: "lambda_max"}[metric], root)
    if metric == BEYOND:
        finite = array[np.isfinite(array)]
        return float(np.count_nonzero(finite > 2) / finite.size)
    mine = np.flatnonzero(epochs == epoch)
    if metric in CURVATURE:
        return float(np.nanmean(array[mine]))
    return _of_fifth(array[mine[-1]], metric, int(_whole(row["class"]) or 0), body)


def _log_step(body: Body, beyond: bool, root: str | Path) -> float | None:
    """log₁₀ of the farthest that a value of α went in an outer step, of a search that met a λ_max above 2, or not."""
    names = list(body["spec"]["method_options"].get("design") or [])
    curvature = _logged(body, "lambda_max", root)[1].reshape(-1).tolist()
    values = [_logged(body, name, root)[1] for name in names]
    if len(curvature) < 2 or not names or any(not np.isfinite(one).all() for one in values):
        return None
    if not all(map(math.isfinite, curvature)) or any(value > 2 for value in curvature) != beyond:
        return None
    farthest = max(
        abs(after - before)
        for one in values
        for column in one.reshape(len(one), -1).T.tolist()
        for before, after in itertools.pairwise(column)
    )
    return math.log10(farthest) if farthest > 0 else None


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
