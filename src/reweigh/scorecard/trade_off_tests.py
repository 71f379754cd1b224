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

EDGE = 0.1  # how far the rectangle of a trade-off reaches beyond all means, as a share of what they span

# --- trade-offs ------------------------------------------------------------------------------------------------------


def dominates(evidence: Evidence) -> list[Comparison]:
    """The curve of `better` over the settings, in two metrics, dominates more than that of each rival: in paired seeds.

    A curve's points are means over seeds. The area that they dominate is a share of the rectangle of all means, with a
    tenth more on each side (`gains`). A t test of the jackknife's pseudo-values takes out what the scatter of points
    adds to the area of any curve: without it the side that scatters more would win. A larger area does not say that
    every point lies beyond the rival's curve. Runs that are lost (`degenerate`) are in no mean: a constant prediction
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
    seeds = sorted(whole[0] & whole[1])
    pairs = [[_points(evidence, side.loc[[seed]]) for side in sides] for seed in seeds]
    pairs = [pair for pair in pairs if not any(np.isnan(points).all() for points in pair)]
    if len(pairs) < 2:
        return stats.untested(label, len(pairs))
    found, widths = gains(*np.array(pairs).swapaxes(0, 1))
    if not widths.all():
        return stats.untested(label, len(pairs))
    steps = [_coarsest(evidence, sides, name) / size for name, size in zip(_metrics(evidence), widths, strict=True)]
    return stats.above(found, evidence.claim.margin, label, math.sqrt(2) * math.hypot(*steps))


def gains(ours: np.ndarray, theirs: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Pseudo-values, one a seed, of the area that our mean curve dominates beyond theirs; the sides of the rectangle.

    Losses (seeds, points, 2) of each side, NaN where there is none. A rectangle without a width has no values.
    """
    means = np.concatenate([_mean_curve(ours), _mean_curve(theirs)])
    spans = np.ptp(means, axis=0)
    least, widths = means.min(0) - EDGE * spans, (1 + 2 * EDGE) * spans
    if not widths.all():
        return [], widths

    def gain(kept: np.ndarray) -> float:
        first, second = (
            dominated(np.minimum((_mean_curve(side[kept]) - least) / widths, 1)) for side in (ours, theirs)
        )
        return first - second

    seeds = np.arange(len(ours))
    whole = gain(seeds)
    return [len(seeds) * whole - (len(seeds) - 1) * gain(np.delete(seeds, one)) for one in seeds], widths


def _mean_curve(losses: np.ndarray) -> np.ndarray:
    """Means over the seeds that have a point, (points, 2), without points that no seed has."""
    some = losses[:, ~np.isnan(losses).all((0, 2))]
    return np.asarray(np.nanmean(some, axis=0))


def dominated(points: np.ndarray) -> float:
    """The area of the unit square that losses (n, 2) up to 1 dominate: what lies above and right of a point.

    >>> dominated(np.array([[0.0, 0.5], [0.5, 0.0], [0.9, 0.9]]))
    0.75
    """
    if not len(points):
        return 0.0
    x, y = points[np.lexsort(points.T[::-1])].T
    ends = np.append(x[1:], 1.0)
    return float(((ends - x) * (1 - np.minimum.accumulate(y))).sum())


def _metrics(evidence: Evidence) -> tuple[str, str]:
    return evidence.claim.metric, evidence.claim.second_metric or ""


def _points(evidence: Evidence, runs: pd.DataFrame) -> np.ndarray:
    """Both metrics of some runs as losses, of which lower is better: (n, 2). NaN for runs that decide nothing."""
    columns = []
    for name in _metrics(evidence):
        metric, values = metrics.of(name), runs[name].to_numpy(float)
        columns.append(-metric.turned(values))
    found = np.stack(columns, axis=1)
    found[(runs["lost"] != "").to_numpy() | ~np.isfinite(found).all(1)] = np.nan
    return found


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


def tracks_test(evidence: Evidence) -> list[Comparison]:
    """The curve of `metric` on `part` ends nearer to that on the test set than that on training, at each setting.

    A run's value is how much nearer, at the last evaluated epoch (of `stage`, if it is given); t test of their mean
    above the margin. A small part that scatters about the test set is off it too.
    """
    claim, comparisons = evidence.claim, []
    for setting in evidence.settings:
        values, steps = [], [0.0]
        for body in evidence.finished(setting):
            ends = stats.numbers(traces.end_of_curve(body, claim.metric, part, claim.stage) for part in claim.parts)
            values.append(nearer(*ends) if len(ends) == len(claim.parts) else None)
            train, part, test = (traces.curve_step(body, claim.metric, part) for part in claim.parts)
            steps.append(math.hypot(train, part, 2 * test))  # the test set's is in both distances
        found = stats.above(values, claim.margin, setting, max(steps))
        comparisons.append(evidence.judged(found, evidence.cell(setting, claim.better or "")))
    return comparisons


def nearer(train: float, part: float, test: float) -> float:
    """How much nearer to the value on the test set the one on a part is than that on the training part.

    >>> nearer(0.0, 0.25, 0.5)
    0.25
    """
    return abs(train - test) - abs(part - test)


DIFFERENCES = ("reaches", "tracks_test")  # tests whose effect is a difference of values of the metric
TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
    "dominates": dominates,
    "varies_less": varies_less,
    "reaches": reaches,
    "tracks_test": tracks_test,
}
