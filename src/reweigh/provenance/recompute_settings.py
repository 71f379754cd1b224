"""The lines of a csv that say something of many settings, or of many methods, computed again from their records.

Aggregates over settings and ranks (`rows.OVER_SETTINGS`), and the p values of gains at one setting: that of a line by
its own runs, those that Holm's correction makes of it by the other lines of the csv.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reweigh import aggregates, metrics, ranks, stats
from reweigh.aggregates import Aggregate
from reweigh.analysis.across import DIGITS, Place
from reweigh.analysis.degenerate import lost
from reweigh.analysis.resolution import of_difference, resolution
from reweigh.analysis.rows import (
    DIFFERENCE,
    IMPROVEMENT,
    MEAN_GAIN_BY_SEED,
    MIDDLE_GAIN,
    MIDDLE_GAIN_BY_SEED,
    OVER_SETTINGS,
    RANK,
    RANK_BY_SEED,
)
from reweigh.records.lineage import value_of

Body = Mapping[str, Any]
Scores = dict[str, dict[str, dict[int, float]]]  # by method, setting and seed; higher is better, −∞ of what diverged
RANKS = (RANK, RANK_BY_SEED)


def ending(metric: str) -> str:
    """Which kind of line over settings a metric is of; empty for any other.

    >>> ending("test_accuracy_interquartile_mean_gain_by_seed"), ending("test_accuracy")
    ('_interquartile_mean_gain_by_seed', '')
    """
    return max((one for one in OVER_SETTINGS if metric.endswith(one)), key=len, default="")


def line(row: Mapping[str, Any], bodies: Sequence[Body]) -> dict[str, Any] | None:
    """What a line over settings states, by its own runs; None of ranks, which need those of other lines too."""
    kind = ending(row["metric"])
    if kind in RANKS:
        return None
    scores = _scores(bodies, row["metric"].removesuffix(kind))
    ours, theirs = (scores.get(name, {}) for name in (row["method"], row["against"]))
    found, count = _of_kind(kind, ours, theirs)
    n = found.runs if isinstance(found, Aggregate) else found.n
    value = found.value if isinstance(found, Aggregate) else found.mean
    return {"mean": value, "n": n, "low": found.low, "high": found.high, "settings": count}


def _of_kind(kind: str, ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[Any, int]:
    """An aggregate, and over how many settings it is."""
    if kind == IMPROVEMENT:
        found = aggregates.improvement(ours, theirs)
        return found, found.settings
    _, gains = aggregates.paired_gains(ours, theirs)
    if kind == MIDDLE_GAIN:
        return aggregates.aggregate_gain(gains), len(gains)
    if kind == MIDDLE_GAIN_BY_SEED:
        return aggregates.gain_by_seed(gains), len(gains)
    assert kind == MEAN_GAIN_BY_SEED
    common = sorted(set.intersection(*map(set, gains.values()))) if gains else []
    means = [math.fsum(of[seed] for of in gains.values()) / len(gains) for seed in common]
    return stats.summarise(means), len(gains)


def rank(row: Mapping[str, Any], bodies: Sequence[Body]) -> dict[str, Any]:
    """The average rank that a line states, and of how many runs, by the runs of all lines of its metric."""
    kind = ending(row["metric"])
    scores = _scores(bodies, row["metric"].removesuffix(kind))
    if row["method"] not in scores:
        return {"mean": None}
    methods, blocks, runs = list(scores), list[np.ndarray](), 0
    for name in scores[row["method"]]:
        of = [scores[method].get(name, {}) for method in methods]
        if seeds := sorted(set.intersection(*map(set, of))):
            runs += len(seeds)
            table = np.array([[side[seed] for side in of] for seed in seeds])
            blocks.append(table if kind == RANK_BY_SEED else np.round(table.mean(0, keepdims=True), DIGITS))
    ranked = np.concatenate([ranks.ranks(block) for block in blocks])
    return {"mean": float(ranked[:, methods.index(row["method"])].mean()), "n": runs, "settings": len(blocks)}


def _scores(bodies: Sequence[Body], metric: str) -> Scores:
    scores = Scores()
    for body in bodies:
        spec = body["spec"]
        if (score := _score(body, metric)) is not None:
            place = Place(spec["experiment"], spec["setting"]).name
            scores.setdefault(spec["method"], {}).setdefault(place, {})[spec["seed"]] = score
    return scores


def _score(body: Body, metric: str) -> float | None:
    """A run's metric, turned so that higher is better; −∞ of what diverged, None of what ended without the metric."""
    if body["status"] == "diverged":
        return -math.inf
    value = value_of(dict(body), metric)
    return None if value is None else metrics.of(metric).turned(value)


# --- p values of gains at one setting --------------------------------------------------------------------------------


def p_of(row: Mapping[str, Any], bodies: Sequence[Body]) -> float | None:
    """The two-sided p of a paired difference, by its own runs; None where one of them decides nothing.

    Runs that ended without the metric are in no pair; those that diverged are, and are lost.
    """
    metric = row["metric"].removesuffix(DIFFERENCE)
    sides: dict[bool, dict[int, Body]] = {False: {}, True: {}}
    scores = {body["run"]: _score(body, metric) for body in bodies}
    for body in bodies:
        if scores[body["run"]] is not None:
            sides[body["spec"]["method"] == row["against"]][body["spec"]["seed"]] = body
    seeds = sorted(set(sides[False]) & set(sides[True]))
    pairs = [[side[seed] for seed in seeds] for side in (sides[False], sides[True])]
    if any(lost(dict(body)) for side in pairs for body in side):
        return None
    ours, theirs = (stats.numbers(scores[body["run"]] for body in side) for side in pairs)
    gains = [one - other for one, other in zip(ours, theirs, strict=True)]
    step = of_difference(*((resolution(dict(body), metric) for body in side) for side in pairs))
    test = stats.above(gains, 0.0, resolution=step)
    return stats.two_sided(test.p_for, test.p_against)


def holm_fields(row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What Holm's correction makes of a line's p by those of the other lines of its csv (at its setting, and all)."""
    family = [one for one in lines if one.get("metric") == row["metric"]]
    place = ("experiment", "setting")
    here = [one for one in family if all(one[name] == row[name] for name in place)]
    found = {}
    for name, of in (("p_holm", here), ("p_holm_all", family)):
        if row.get(name):
            corrected = stats.holm([float(one["p"]) if one.get("p") else None for one in of])
            found[name] = corrected[of.index(row)]
    return found
