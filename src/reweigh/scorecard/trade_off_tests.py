"""Tests of claims about more than one number of a run: trade-offs of two metrics, curves, what is logged on the way.

As in `claim_tests`, each is a function from a claim's evidence to comparisons, one for each place.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from reweigh import metrics, stats
from reweigh.analysis import traces
from reweigh.analysis.degenerate import degenerate
from reweigh.analysis.resolution import FLOAT32, resolution
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison

# --- trade-offs ------------------------------------------------------------------------------------------------------


def dominates(evidence: Evidence) -> list[Comparison]:
    """The curve of `better` over the settings, in two metrics, dominates more than that of each rival: in paired seeds.

    The area that a seed's points dominate, between the best and the worst value of each metric among all points of both
    sides, as a share of that rectangle (`dominated`); a t test of the differences. A larger area does not say that
    every point lies beyond the rival's curve. Runs that are lost (`degenerate`) are no points: a constant prediction
    has no gap, and would stand on everybody's curve. A seed counts if each cell of both sides has a run of it.
    """
    contests, comparisons = evidence.claim.contests, []
    for better, rival in contests:
        label = f"{better} against {rival}" if len({one for one, _ in contests}) > 1 else f"against {rival}"
        sides = [pd.concat([evidence.cell(one, name) for one in evidence.settings]) for name in (better, rival)]
        found = _dominates(evidence, sides, label)
        whys = dict.fromkeys(why for side in sides if (why := degenerate(side)))
        comparisons.append(stats.undecided(found, ", ".join(whys)))
    return comparisons


def _dominates(evidence: Evidence, sides: list[pd.DataFrame], label: str) -> Comparison:
    counts = [side.index.value_counts() for side in sides]
    whole = [set(count.index[count == len(evidence.settings)]) for count in counts]
    curves = [[_points(evidence, side.loc[[seed]]) for side in sides] for seed in sorted(whole[0] & whole[1])]
    curves = [pair for pair in curves if all(map(len, pair))]
    if not curves:
        return stats.untested(label, 0)
    every = np.concatenate([points for pair in curves for points in pair])
    least, width = every.min(0), np.ptp(every, axis=0)
    if not width.all():
        return stats.untested(label, len(curves))
    areas = [[dominated((points - least) / width) for points in pair] for pair in curves]
    steps = [_coarsest(evidence, sides, name) / size for name, size in zip(_metrics(evidence), width, strict=True)]
    gains = [ours - theirs for ours, theirs in areas]
    return stats.above(gains, evidence.claim.margin, label, math.sqrt(2) * math.hypot(*steps))


def dominated(points: np.ndarray) -> float:
    """The area of the unit square that losses (n, 2) between 0 and 1 dominate: what lies above and right of a point.

    >>> dominated(np.array([[0.0, 0.5], [0.5, 0.0], [0.9, 0.9]]))
    0.75
    """
    x, y = points[np.lexsort(points.T[::-1])].T
    ends = np.append(x[1:], 1.0)
    return float(((ends - x) * (1 - np.minimum.accumulate(y))).sum())


def _metrics(evidence: Evidence) -> tuple[str, str]:
    return evidence.claim.metric, evidence.claim.second_metric or ""


def _points(evidence: Evidence, runs: pd.DataFrame) -> np.ndarray:
    """Both metrics of some runs as losses, of which lower is better: (n, 2). Without runs that decide nothing."""
    sound, columns = runs[runs["lost"] == ""], []
    for name in _metrics(evidence):
        metric, values = metrics.of(name), sound[name].to_numpy(float)
        columns.append((np.abs(values) if metric.absolute else values) * -(metric.direction or 1))
    found = np.stack(columns, axis=1)
    return np.asarray(found[np.isfinite(found).all(1)])


def _coarsest(evidence: Evidence, sides: list[pd.DataFrame], metric: str) -> float:
    bodies = [evidence.records[run] for side in sides for run in side["run"] if run in evidence.records]
    return max((resolution(body, metric) for body in bodies), default=0.0)


# --- what is logged on the way ---------------------------------------------------------------------------------------


def varies_less(evidence: Evidence) -> list[Comparison]:
    """What runs logged under `trace` wanders less from epoch to epoch for `better` than for each rival.

    The total variation of its last rows of the epochs, as a mean over entries; t test of the logarithms of paired
    ratios, which are below the margin (1 if none is given). A run that did not move it, or diverged, has no ratio.
    """
    comparisons = []
    for label, ours, theirs in evidence.pairs():
        first, second = ([_variation(evidence, run) for run in side["run"]] for side in (ours, theirs))
        found = stats.cost_ratio(first, second, evidence.claim.margin or 1.0, label, FLOAT32)
        comparisons.append(evidence.judged(stats.opposite(found), ours, theirs))
    return comparisons


def _variation(evidence: Evidence, run: str) -> float | None:
    body = evidence.records[run]
    if body["status"] != "finished":
        return None
    values = traces.by_epoch(body, evidence.claim.trace or "", evidence.config.root)
    return None if values is None else traces.total_variation(values)


def reaches(evidence: Evidence) -> list[Comparison]:
    """The curve of `metric` on `part` comes within the margin of `level` for `better`, at each setting.

    A run's value is how far the best of its evaluated epochs (of `stage`, if it is given) stays short of the level; t
    test of their mean. What the curve does later does not count.
    """
    claim, comparisons = evidence.claim, []
    sign = -1 if metrics.of(claim.metric).direction < 0 else 1
    for setting in evidence.settings:
        values, steps = [], [0.0]
        for body in evidence.finished(setting):
            best = traces.best_of_curve(body, claim.metric, claim.part or "test", claim.stage)
            values.append(None if best is None else sign * ((claim.level or 0.0) - best))
            steps.append(traces.curve_step(body, claim.metric, claim.part or "test"))
        found = stats.below(values, claim.margin, setting, max(steps))
        comparisons.append(evidence.judged(found, evidence.cell(setting, claim.better or "")))
    return comparisons


DIFFERENCES = ("reaches",)  # tests whose effect is a difference of values of the metric
TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
    "dominates": dominates,
    "varies_less": varies_less,
    "reaches": reaches,
}
