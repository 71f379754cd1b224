"""The lines of a csv that compare runs (`analysis.gains`, `analysis.margins`), computed again from their records."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import canonical_json
from reweigh.analysis.gains import IN_DIFFERENCES, RELATIVE, TIMES, taken_off
from reweigh.analysis.margins import (
    ANOTHER,
    APART,
    ARRAY,
    BIN,
    BUCKET,
    IN_BUCKET,
    MEAN,
    MEDIAN,
    SD_IN,
    SEM_IN,
    SHARE,
    WIDTH,
)
from reweigh.analysis.margins import METRICS as OF_MARGINS
from reweigh.analysis.rows import DIFFERENCE
from reweigh.analysis.tables import logged
from reweigh.digest import canonical
from reweigh.records.lineage import value_of

Body = dict[str, Any]
ENDINGS = (RELATIVE, IN_DIFFERENCES)
STARTS = np.array([place * WIDTH - 1 - 1e-9 for place in range(round(2 / WIDTH))])  # of buckets; 1 lies in the last one


def knows(metric: str) -> bool:
    """Whether lines of a metric are computed again here."""
    return metric.endswith(ENDINGS) or metric == TIMES or metric in OF_MARGINS


def base(metric: str) -> str:
    """The metric of single runs that such a metric, or that of a paired difference, is made of."""
    for ending in (DIFFERENCE, *ENDINGS):
        metric = metric.removesuffix(ending)
    return metric


def methods(row: Mapping[str, Any]) -> set[str]:
    """The methods whose runs feed a line beside the one that it names and the one that it stands against."""
    return set(taken_off(row.get("note") or "") or ())


def of_all_seeds(metric: str) -> bool:
    """Whether a line names all runs of both sides that have a value; else some may have no partner, or be a third."""
    return not knows(metric) or metric.endswith(RELATIVE)


def values(row: Mapping[str, Any], bodies: list[Body], root: str | Path = ".") -> list[float]:
    """What each pair of runs gives for a line."""
    metric = row["metric"]
    if metric in OF_MARGINS:
        return _of_margins(row, bodies, root)
    by_method: dict[str, dict[int, Body]] = {}
    for body in bodies:
        by_method.setdefault(body["spec"]["method"], {})[body["spec"]["seed"]] = body
    ours, others = by_method.get(row["method"], {}), by_method.get(row["against"], {})
    if metric == TIMES:
        return [_seconds(ours[seed]) / _seconds(others[seed]) for seed in ours if seed in others]
    found = {seed: _pair(metric, ours[seed], others[seed]) for seed in ours if seed in others}
    if metric.endswith(IN_DIFFERENCES):
        first, second = taken_off(row["note"]) or ("", "")
        less = {seed: _pair(metric, body, by_method[second][seed]) for seed, body in by_method[first].items()}
        found = {seed: _minus(value, less.get(seed)) for seed, value in found.items()}
    return [value for value in found.values() if value is not None]


def _pair(metric: str, ours: Body, theirs: Body) -> float | None:
    one, other = value_of(ours, base(metric)), value_of(theirs, base(metric))
    if one is None or other is None:
        return None
    return (one - other) / other if metric.endswith(RELATIVE) else one - other


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _seconds(body: Body) -> float:
    return float(max(body["curves"]["train_seconds"]))


def _of_margins(row: Mapping[str, Any], bodies: list[Body], root: str | Path) -> list[float]:
    note, x = row.get("note") or "", row.get("x")
    sides: tuple[dict[int, np.ndarray], dict[int, np.ndarray]] = ({}, {})
    for body in bodies:
        if body["trace"] is not None and ARRAY in body["trace"]["arrays"]:
            kept = _margins(str(root), body["run"], canonical(body["trace"]))
            sides[body["spec"]["method"] == row["against"]][body["spec"]["seed"]] = kept
    ours, plain = (sides[1], sides[1]) if row["method"] == row["against"] else sides
    ring = sorted(plain)
    values = []
    for place, seed in enumerate(ring):
        following = ring[(place + 1) % len(ring)]
        mine = following if note == ANOTHER else seed
        if mine in ours:
            by = plain[following] if note == APART else plain[seed]
            value = _change(row["metric"], ours[mine] - plain[seed], by, None if x in (None, "") else float(x))
            values += [] if value is None else [value]
    return values


@functools.lru_cache(maxsize=512)
def _margins(root: str, run: str, trace: bytes) -> np.ndarray:
    found = logged({"run": run, "trace": canonical_json.parse(trace)}, ARRAY, root=root)
    assert found is not None
    return found[0].astype(np.float64)


def _change(metric: str, change: np.ndarray, by: np.ndarray, x: float | None) -> float | None:
    if metric == MEAN:
        return math.fsum(change.tolist()) / len(change)
    if metric == MEDIAN:
        ordered, half = sorted(change.tolist()), len(change) // 2
        return ordered[half] if len(change) % 2 else (ordered[half - 1] + ordered[half]) / 2
    assert x is not None
    if metric == SHARE:
        low, high = (round((x + side * BIN / 2) / BIN) * BIN for side in (-1, 1))
        last = high > 2 - BIN / 2
        inside = (change >= np.float64(low)) & ((change <= 2) if last else (change < np.float64(high)))
        return float(inside.sum()) / len(change)
    number = round((x + 1) / WIDTH)
    chosen = change[np.clip(np.digitize(by, STARTS), 1, len(STARTS)) == number + 1].tolist()
    if metric == IN_BUCKET:
        return len(chosen) / len(change)
    if len(chosen) < (1 if metric == BUCKET else 2):
        return None
    mean = math.fsum(chosen) / len(chosen)
    if metric == BUCKET:
        return mean
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in chosen) / (len(chosen) - 1))
    return {SD_IN: sd, SEM_IN: sd / math.sqrt(len(chosen))}[metric]
