"""Tests of claims that are about more than the last score: curves, groups, learned weights, and runs that collapse.

As in `claim_tests`, each is a function from a claim's evidence to comparisons, one for each place.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reweigh import stats
from reweigh.analysis import learned, reached
from reweigh.analysis.degenerate import degenerate
from reweigh.analysis.reached import Reached
from reweigh.analysis.resolution import FLOAT32
from reweigh.analysis.tables import class_weights
from reweigh.scorecard.evidence import Evidence, cost_pairs
from reweigh.stats import Comparison

When = Callable[[dict[str, Any], str, float], Reached]


# --- when a level is reached -----------------------------------------------------------------------------------------


def reaches_in_fewer_epochs(evidence: Evidence) -> list[Comparison]:
    """`better` first reaches `level` in fewer epochs than each rival. Effect: its epochs over theirs.

    Whether a run collapses later does not matter here: degenerate is a side that never reached the level at all.
    """
    return [_earlier(evidence, label, ours, theirs, reached.epochs) for label, ours, theirs in evidence.pairs()]


def reaches_in_less_time(evidence: Evidence) -> list[Comparison]:
    """The same in seconds of training, evaluation left out; only pairs of runs whose seconds can be compared."""
    return [
        _earlier(evidence, label, ours[comparable], theirs[comparable], reached.seconds)
        for label, ours, theirs, comparable in cost_pairs(evidence)
    ]


def _earlier(evidence: Evidence, label: str, ours: pd.DataFrame, theirs: pd.DataFrame, when: When) -> Comparison:
    """Runs paired by seed: when each first reached the level of the claim."""
    claim = evidence.claim
    first, second = (
        [when(evidence.records[run], claim.metric, claim.level or 0.0) for run in rows["run"]]
        for rows in (ours, theirs)
    )
    never = [rows for rows, times in ((ours, first), (theirs, second)) if not any(run.ever for run in times)]
    whys = [why for rows in never if (why := degenerate(rows))]
    return stats.undecided(earlier(first, second, claim.margin or 1.0, label), ", ".join(whys))


def earlier(ours: Sequence[Reached], theirs: Sequence[Reached], margin: float = 1.0, label: str = "") -> Comparison:
    """Do `ours` come before `theirs`, pair by pair: is ours / theirs below `margin`? t test on logarithms of ratios.

    A run that never reaches the level would do so after its last epoch, if ever, so that its time is a lower bound.
    Where `theirs` never does, the ratio is an upper bound: the t test is cautious for the claim, and there can be none
    against it. Where `ours` never does, it is the other way round. Then the effect is a bound too, without an interval.
    Pairs in which neither does have no order and do not count. Epochs are counted in whole ones: `Reached.step` is the
    resolution.
    """
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].ever or pair[1].ever]
    never = [sum(not run.ever for run in side) for side in zip(*pairs, strict=True)] or [0, 0]
    logs = [math.log(one.at / other.at) for one, other in pairs]
    step = max((math.hypot(one.step, other.step) for one, other in pairs), default=0.0)
    found = stats.below(logs, math.log(margin), _with_bounds(label, never, len(pairs), len(ours)), step)
    effect, low, high = (None if value is None else math.exp(value) for value in (found.effect, found.low, found.high))
    found = replace(found, effect=effect, low=low, high=high)
    if found.p_for is None or not any(never):
        return found
    p_for, p_against = (1.0 if bound else p for bound, p in zip(never, (found.p_for, found.p_against), strict=True))
    return replace(found, low=None, high=None, p_for=p_for, p_against=p_against)


def _with_bounds(label: str, never: Sequence[int], pairs: int, all_pairs: int) -> str:
    """The label of a place, with how many runs never reached the level, of either side or of both."""
    said = [f"{count} of {pairs} {side} never" for count, side in zip(never, ("ours", "theirs"), strict=True) if count]
    said += [f"in {all_pairs - pairs} of {all_pairs} pairs neither"] if pairs < all_pairs else []
    return f"{label} ({', '.join(said)})" if said else label


# --- groups ----------------------------------------------------------------------------------------------------------


def group_ahead(evidence: Evidence) -> list[Comparison]:
    """Under `better`, the accuracy of the first of `groups` above that of the second by more than the margin."""
    comparisons = []
    for setting in evidence.settings:
        cell, gaps, steps = evidence.cell(setting, evidence.claim.better or ""), [], [0.0]
        for body in evidence.finished(setting):
            first, second = (body["metrics"]["per_group_accuracy"][group] for group in evidence.claim.groups)
            gaps.append(None if first is None or second is None else first - second)
            steps.append(_group_step(body["metrics"], evidence.claim.groups))
        comparisons.append(evidence.judged(stats.above(gaps, evidence.claim.margin, setting, max(steps)), cell))
    return comparisons


def _group_step(metrics: dict[str, Any], groups: list[int]) -> float:
    """In which steps a difference of two groups' accuracies is known: 1/N of each; of all, without counts by group."""
    tables = metrics.get("group_confusion")
    sizes = [sum(map(sum, tables[group])) for group in groups] if tables else [metrics["test_size"]]
    return math.hypot(*(1 / size for size in sizes if size))


def below(evidence: Evidence) -> list[Comparison]:
    """The mean over seeds of `metric` of `better` is below the margin, at each setting."""
    comparisons = []
    for setting in evidence.settings:
        cell = evidence.cell(setting, evidence.claim.better or "")
        values, step = cell[evidence.claim.metric].tolist(), evidence.resolution(cell)
        comparisons.append(evidence.judged(stats.below(values, evidence.claim.margin, setting, step), cell))
    return comparisons


# --- learned weights -------------------------------------------------------------------------------------------------


def weights_near_equal(evidence: Evidence) -> list[Comparison]:
    """The class weights of `better` at the end of training lie less than the margin from 1/c, each; of their sum."""
    return _of_weights(evidence, lambda weights, _: learned.distance_from_equal(weights), stats.below)


def weights_grow_more(evidence: Evidence) -> list[Comparison]:
    """The slope of log mean weight over log 1/n_c is above the margin: 0 if unrelated, 1 if proportional."""
    return _of_weights(evidence, learned.slope_on_inverse_size, stats.above)


def weights_grow_less(evidence: Evidence) -> list[Comparison]:
    """The same slope is below the margin."""
    return _of_weights(evidence, learned.slope_on_inverse_size, stats.below)


def _of_weights(
    evidence: Evidence,
    value_of: Callable[[np.ndarray, list[int]], float | None],
    test: Callable[..., Comparison],
) -> list[Comparison]:
    """A value from the weights that each run of `better` logged, tested against the margin at each setting."""
    comparisons = []
    for setting in evidence.settings:
        values = []
        for body in evidence.finished(setting):
            weights = class_weights(body, evidence.config.root)
            if weights is not None and len(weights):
                values.append(value_of(weights, body["split"]["sizes"]["train"]))
        found = test(values, evidence.claim.margin, setting, FLOAT32)
        comparisons.append(evidence.judged(found, evidence.cell(setting, evidence.claim.better or "")))
    return comparisons


# --- collapses -------------------------------------------------------------------------------------------------------


def collapses_less(evidence: Evidence) -> list[Comparison]:
    """Fewer runs of the first method of each pair end lost than of the second, on average over settings and pairs.

    Lost is what diverged, predicts one class or did not move (`analysis.degenerate`). A seed counts once, by its
    average over all places: of pairs that differ in one factor, at each value of another, the factor's main effect.
    Effect: the share of runs that the first methods save. A collapse is the result here, so that none is degenerate.
    """
    places = [
        ((theirs["lost"] != "").astype(float) - (ours["lost"] != "").astype(float)).to_dict()
        for _, ours, theirs in evidence.pairs()
    ]
    step, label = 1 / len(places) if places else 0.0, f"{len(places)} places on average"
    found = stats.average_above(places, evidence.claim.margin, label, step)
    # Lost or not: where places go together, two seeds tie at the largest effect in one case of eight by chance.
    return [found if found.n >= stats.FEWEST else stats.untested(label, found.n, found.effect)]


LEVELS = ("reaches_in_fewer_epochs", "reaches_in_less_time")  # tests that need a level
DIFFERENCES = ("group_ahead", "collapses_less")  # tests whose effect is a difference
TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
    "reaches_in_fewer_epochs": reaches_in_fewer_epochs,
    "reaches_in_less_time": reaches_in_less_time,
    "group_ahead": group_ahead,
    "below": below,
    "weights_near_equal": weights_near_equal,
    "weights_grow_more": weights_grow_more,
    "weights_grow_less": weights_grow_less,
    "collapses_less": collapses_less,
}
