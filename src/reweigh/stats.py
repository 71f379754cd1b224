"""Means, intervals, and tests of claims; verdicts on published numbers are in `verdicts`.

Everything is decided by rules that were written down before any run:

* An interval is the 95 % interval of Student's t for a mean over seeds; sd is the sample sd (n - 1). One run has
  neither.
* A claim is tested by pairs of runs that share a seed (and with it the split's random draws) with two-sided t tests;
  p values are corrected by Holm's method over all claims of a paper.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtri, stdtr, stdtrit

Values = Sequence[float] | np.ndarray

LEVEL = 0.95
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """n values: their mean, sample sd and 95 % interval of the mean. What n does not allow is None."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of a claim at one place. `p_for` is small where the claim is true, `p_against` where its opposite is.

    Both are one-sided and None where n allows no test. `effect` (with interval) has the unit that the claim speaks of.
    """

    label: str
    n: int
    effect: float | None
    low: float | None
    high: float | None
    statistic: float | None
    p_for: float | None
    p_against: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Mean, sample sd (n - 1) and 95 % Student interval of the mean."""
    x = np.asarray(values, float)
    n = len(x)
    if n == 0:
        return Summary(0, None, None, None, None)
    mean = float(x.mean())
    if n == 1:
        return Summary(1, mean, None, None, None)
    sd = float(x.std(ddof=1))
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Half-width, in standard errors, of the two-sided Student interval."""
    return float(stdtrit(degrees, 0.5 + level / 2))


def least_sd(resolution: float) -> float:
    """The sd of a rounding error: of what is known in steps of `resolution` only, no sd can be known to be smaller."""
    return resolution / math.sqrt(12)


# --- claims ----------------------------------------------------------------------------------------------------------


def above(values: Sequence[float], margin: float, label: str = "") -> Comparison:
    """Is the mean of `values` above `margin`? One-sample t test. Effect: the mean.

    For paired runs `values` are differences, seed by seed. Values without any spread decide by their mean alone.
    """
    ours = summarise(values)
    if ours.n < 2 or ours.mean is None or ours.sd is None:
        return Comparison(label, ours.n, ours.mean, None, None, None, None, None)
    distance = ours.mean - margin
    if ours.sd <= 1e-12 * max(1.0, abs(ours.mean)):
        statistic = math.copysign(math.inf, distance) if abs(distance) > 1e-12 else 0.0
    else:
        statistic = distance / (ours.sd / math.sqrt(ours.n))
    p_for, p_against = float(stdtr(ours.n - 1, -statistic)), float(stdtr(ours.n - 1, statistic))
    return Comparison(label, ours.n, ours.mean, ours.low, ours.high, statistic, p_for, p_against)


def average_above(cells: Sequence[Sequence[float]], margin: float, label: str = "") -> Comparison:
    """Is the mean of the cells' means above `margin`? t test with one variance for all cells, pooled within them.

    For paired runs a cell holds the differences at one place. Every cell counts the same, however many values it has.
    """
    values = [np.asarray(cell, float) for cell in cells]
    n, degrees = sum(map(len, values)), sum(len(cell) - 1 for cell in values)
    if not values or not all(map(len, values)):
        return Comparison(label, n, None, None, None, None, None, None)
    mean = float(np.mean([cell.mean() for cell in values]))
    if degrees < 1:
        return Comparison(label, n, mean, None, None, None, None, None)
    pooled = math.sqrt(sum(float(((cell - cell.mean()) ** 2).sum()) for cell in values) / degrees)
    error = pooled * math.sqrt(sum(1 / len(cell) for cell in values)) / len(values)
    distance, half = mean - margin, t_quantile(degrees) * error
    statistic = distance / error if error > 1e-12 else math.copysign(math.inf, distance) if distance else 0.0
    p_for, p_against = float(stdtr(degrees, -statistic)), float(stdtr(degrees, statistic))
    return Comparison(label, n, mean, mean - half, mean + half, statistic, p_for, p_against)


def below(values: Sequence[float], margin: float, label: str = "") -> Comparison:
    """Is the mean of `values` below `margin`? The mirror image of `above`; effect: the mean."""
    mirrored = above([-value for value in values], -margin, label)
    return Comparison(
        label,
        mirrored.n,
        _minus(mirrored.effect),
        _minus(mirrored.high),
        _minus(mirrored.low),
        _minus(mirrored.statistic),
        mirrored.p_for,
        mirrored.p_against,
    )


def within(values: Sequence[float], margin: float, label: str = "") -> Comparison:
    """Is the mean of `values` between -margin and +margin? Two one-sided t tests. Effect: the mean.

    For: both must say so, so its p is the larger one. Against: the mean beyond either bound, Bonferroni-corrected.
    """
    below_it, above_it = below(values, margin, label), above(values, -margin, label)
    p_for = [one.p_for for one in (below_it, above_it) if one.p_for is not None]
    p_against = [one.p_against for one in (below_it, above_it) if one.p_against is not None]
    if len(p_for) < 2 or len(p_against) < 2:
        return above_it
    weakest = below_it if p_for[0] > p_for[1] else above_it
    return replace(above_it, statistic=weakest.statistic, p_for=max(p_for), p_against=min(1.0, 2 * min(p_against)))


def opposite(comparison: Comparison) -> Comparison:
    """The same test with for and against exchanged; the effect stays what it is."""
    statistic = _minus(comparison.statistic)
    return replace(comparison, statistic=statistic, p_for=comparison.p_against, p_against=comparison.p_for)


def cost_ratio(costs: Sequence[float], others: Sequence[float], margin: float = 1.0, label: str = "") -> Comparison:
    """Is costs / others, run by run, above `margin`? t test on logarithms. Effect: the geometric mean of the ratios."""
    logs = [math.log(cost / other) for cost, other in zip(costs, others, strict=True)]
    found = above(logs, math.log(margin), label)
    effect, low, high = (None if value is None else math.exp(value) for value in (found.effect, found.low, found.high))
    return Comparison(label, found.n, effect, low, high, found.statistic, found.p_for, found.p_against)


def spread_ratio(ours: Sequence[Sequence[float]], others: Sequence[Sequence[float]], label: str = "") -> Comparison:
    """Is the spread over seeds smaller in `ours` than in `others`? Brown and Forsythe's test, pooled over settings.

    `ours[k]` and `others[k]` are the values of setting k. The test is the t test on absolute distances from the median
    of each cell, which does not need normal values. Effect: the ratio of the pooled sds, with the interval of an F
    ratio (which does; read it as a rough one).
    """
    mine, theirs = ([np.asarray(cell, float) for cell in cells if len(cell) > 1] for cells in (ours, others))
    n = min((len(cell) for cell in (*mine, *theirs)), default=0)
    if not mine or not theirs:
        return Comparison(label, n, None, None, None, None, None, None)
    a, b = (np.concatenate([np.abs(cell - np.median(cell)) for cell in cells]) for cells in (mine, theirs))
    degrees = len(a) + len(b) - 2
    pooled = math.sqrt((((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / degrees)
    distance = float(b.mean() - a.mean())
    scale = pooled * math.sqrt(1 / len(a) + 1 / len(b))
    statistic = distance / scale if scale else math.copysign(math.inf, distance) if distance else 0.0
    p_for, p_against = float(stdtr(degrees, -statistic)), float(stdtr(degrees, statistic))
    return Comparison(label, n, *_sd_ratio(mine, theirs), statistic, p_for, p_against)


def _sd_ratio(ours: list[np.ndarray], others: list[np.ndarray]) -> tuple[float | None, float | None, float | None]:
    """Ratio of pooled sds with its 95 % F interval; None where the other spread is zero."""
    freedom = [sum(len(cell) - 1 for cell in cells) for cells in (ours, others)]
    variances = [
        sum(float(cell.var(ddof=1)) * (len(cell) - 1) for cell in cells) / degrees
        for cells, degrees in zip((ours, others), freedom, strict=True)
    ]
    if variances[1] == 0:
        return None, None, None
    ratio = variances[0] / variances[1]
    upper, lower = (float(fdtri(*freedom, 0.5 + side * LEVEL / 2)) for side in (1, -1))
    return math.sqrt(ratio), math.sqrt(ratio / upper), math.sqrt(ratio / lower)


def pearson(x: Values, y: Values) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    a, b = (np.asarray(side, float) - np.mean(side) for side in (x, y))
    scale = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale else 0.0


def spearman(x: Values, y: Values) -> float:
    """Spearman's correlation: Pearson's of the ranks, ties shared.

    >>> spearman([1, 2, 3], [10, 100, 1000])
    1.0
    """
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Values) -> list[float]:
    x = np.asarray(values, float)
    return [float((x < value).sum() + ((x == value).sum() + 1) / 2) for value in x]


def claim_p(comparisons: Sequence[Comparison]) -> tuple[float | None, float | None]:
    """One p value for and one against a claim that says something of several places at once.

    For: the claim must be true at every place, so its p is the largest of theirs. Against: one place where the opposite
    is true is enough, so its p is the smallest of theirs times their number (Bonferroni). None if any has no test.
    """
    for_it = [one.p_for for one in comparisons if one.p_for is not None]
    against = [one.p_against for one in comparisons if one.p_against is not None]
    if not comparisons or not len(for_it) == len(against) == len(comparisons):
        return None, None
    return max(for_it), min(1.0, len(against) * min(against))


def two_sided(p_for: float | None, p_against: float | None) -> float | None:
    """The two-sided p of a claim: twice the smaller one, at most 1."""
    return None if p_for is None or p_against is None else min(1.0, 2 * min(p_for, p_against))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over the p values that are there; None stays None and does not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, place) in enumerate(order):
        so_far = max(so_far, min(1.0, p * (len(order) - rank)))
        corrected[place] = so_far
    return corrected


def claim_verdict(p_for: float | None, p_against: float | None, corrected: float | None) -> str:
    """`holds` or `fails` where the corrected two-sided p is below 0.05, by the side it is on; else `inconclusive`."""
    if p_for is None or p_against is None or corrected is None or corrected >= ALPHA:
        return "inconclusive"
    return "holds" if p_for < p_against else "fails"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
