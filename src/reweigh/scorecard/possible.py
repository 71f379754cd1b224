"""Which values the effect of a claim can have, so that no interval is shown beyond them."""

import math
from dataclasses import replace

from reweigh import metrics
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison

# differences of two values of the claim's metric, or of two distances of them
GAINS = ("greater", "greater_on_average", "within", "group_ahead", "tracks_test")
SHARES = ("separates_better", "collapses_less")  # differences of two shares, whatever the metric
AREAS = ("dominates",)  # differences of two shares of a rectangle
CORRELATIONS = ("weights_not_inverse_frequency", "follows_frequency", "ordered")


def possible(evidence: Evidence) -> tuple[float, float]:
    """The least and the largest effect that the claim's test can find; infinite where there is no bound.

    Ratios of costs, times and spreads have no end below 0 as they are: their intervals come from logarithms or squares.
    The largest distance of a share from 1/c is 1 - 1/c, where one of the c classes has all the weight.
    """
    claim, metric = evidence.claim, metrics.of(evidence.claim.metric)
    width = metric.high - metric.low
    if claim.test in GAINS:
        return -width, width
    if claim.test in ("grows", "gains_more"):  # a difference of two gains
        return -2 * width, 2 * width
    if claim.test == "explained_by":  # the gain, and another gain less `margin` of it
        most = max(1.0, claim.margin) * width
        return -most, most
    if claim.test in (*SHARES, *AREAS, *CORRELATIONS):
        return -1.0, 1.0
    if claim.test == "below":
        return metric.low, metric.high
    if claim.test == "reaches":  # what is missing of the level, and what is beyond it
        ends = [abs((claim.level or 0.0) - end) for end in (metric.low, metric.high)]
        return (-ends[0], ends[1]) if metric.direction < 0 else (-ends[1], ends[0])
    if claim.test == "minority_weighs_more":  # a ratio of weights
        return 0.0, math.inf
    if claim.test == "weights_near_equal":
        return 0.0, 1 - 1 / max(_classes(evidence), default=math.inf)
    return -math.inf, math.inf


def _classes(evidence: Evidence) -> list[int]:
    """Over how many classes each run of the claim logged weights."""
    bodies = (evidence.records[run] for run in evidence.used()["run"] if run in evidence.records)
    shapes = (((body.get("trace") or {}).get("arrays") or {}).get("class_weights") for body in bodies)
    return [shape[1] for shape in shapes if shape]


def cut(comparison: Comparison, least: float, most: float) -> Comparison:
    """A comparison whose interval is cut at what is possible. Its p values stay: they are of the t test."""
    low, high = (None if end is None else min(most, max(least, end)) for end in (comparison.low, comparison.high))
    return replace(comparison, low=low, high=high)
