"""Means, intervals, and tests of claims; verdicts on published numbers are in `verdicts`.

Everything is decided by rules that were written down before any run:

* An interval is the 95 % interval of Student's t for a mean over seeds; sd is the sample sd (n - 1). One run has
  neither. Where a mean of shares has one that leaves what a share can be, Wilson's takes its place (`inside`).
* A claim is tested by pairs of runs that share a seed (and with it the split's random draws) with two-sided t tests;
  p values are corrected by Holm's method over all claims of a paper.
* None and NaN are one thing: no number. They count nowhere.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtri, stdtr, stdtrit

Values = Sequence[float | None] | np.ndarray
BySeed = Mapping[int, float | None]  # the value of each seed

LEVEL = 0.95
ALPHA = 0.05
FEWEST = 3  # values of a cell whose spread can be tested
ROUNDING = 1e-12  # relative: what arithmetic may leave of an sd of 0


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

    Both are one-sided and None where n allows no test, or where nothing varies. `effect` (with interval) has the unit
    that the claim speaks of. `degenerate` says why the runs of a side decide nothing; it is empty if they may.
    """

    label: str
    n: int
    effect: float | None
    low: float | None
    high: float | None
    statistic: float | None
    p_for: float | None
    p_against: float | None
    degenerate: str = ""


def untested(label: str, n: int, effect: float | None = None) -> Comparison:
    """A comparison that n does not allow, or in which nothing varies."""
    return Comparison(label, n, effect, None, None, None, None, None)


def undecided(comparison: Comparison, why: str) -> Comparison:
    """The comparison as one that is degenerate: its effect stays, and decides nothing. Without a reason, as it is."""
    return replace(untested(comparison.label, comparison.n, comparison.effect), degenerate=why) if why else comparison


def numbers(values: Iterable[float | None]) -> list[float]:
    """The values that are numbers: neither None nor NaN nor infinite.

    >>> numbers([0.5, None, float("nan")])
    [0.5]
    """
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def least_sd(resolution: float) -> float:
    """The sd of a rounding error: of what is known in steps of `resolution` only, no sd can be known to be smaller.

    The share of right answers among N examples has steps of 1/N. What it stands for lies anywhere within half a step of
    it, and the sd of a uniform distribution of that width is 1/√12 of it.
    """
    return resolution / math.sqrt(12)


def summarise(values: Values, least: float = -math.inf, most: float = math.inf) -> Summary:
    """Mean, sample sd (n - 1) and 95 % interval of the mean, of the values that are numbers.

    `least` and `most` are the least and the largest value that any of them can have, as 0 and 1 for a share; the
    interval stays between them (`inside`).
    """
    x = np.asarray(numbers(values), float)
    n = len(x)
    if n == 0:
        return Summary(0, None, None, None, None)
    mean = float(x.mean())
    if n == 1:
        return Summary(1, mean, None, None, None)
    sd = float(x.std(ddof=1))
    return Summary(n, mean, sd, *inside(mean, t_quantile(n - 1) * sd / math.sqrt(n), least, most))


def inside(mean: float, half: float, least: float, most: float) -> tuple[float, float]:
    """An interval of a mean of values between `least` and `most`: `mean` ± `half`, or Wilson's where that leaves them.

    `half` is Student's quantile times the standard error. For a share m Wilson's interval, with that half-width h for
    z √(m (1 - m) / N), has all μ with (m - μ)² <= h² μ (1 - μ) / (m (1 - m)): the error falls towards 0
    and 1 as that of a share does. In other words, N is the effective number of examples, m (1 - m) over the squared
    standard error. Values that are all at an end have no such number; their interval is cut there. docs/verdicts.md
    says how often it is right.

    >>> inside(0.9, 0.05, 0.0, 1.0)
    (0.85, 0.9500000000000001)
    >>> [round(end, 3) for end in inside(0.9, 0.2, 0.0, 1.0)]
    [0.57, 0.984]
    """
    low, high = mean - half, mean + half
    if (least <= low and high <= most) or not least <= mean <= most:  # a mean beyond them is none of such values
        return low, high
    width = most - least
    share, reach = (mean - least) / width, half / width
    variance = share * (1 - share)
    if not variance:
        return max(least, low), min(most, high)
    excess = reach**2 / variance
    middle, half = (share + excess / 2) / (1 + excess), math.sqrt(reach**2 + excess**2 / 4) / (1 + excess)
    return max(least, least + width * (middle - half)), min(most, least + width * (middle + half))


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Half-width, in standard errors, of the two-sided Student interval."""
    return float(stdtrit(degrees, 0.5 + level / 2))


# --- claims ----------------------------------------------------------------------------------------------------------


def above(values: Values, margin: float, label: str = "", resolution: float = 0.0) -> Comparison:
    """Is the mean of `values` above `margin`? One-sample t test. Effect: the mean.

    For paired runs `values` are differences, seed by seed. `resolution` is the step in which one of them is known:
    their sd counts as `least_sd(resolution)` at least, because values that agree to that step may differ below it.
    Without a resolution, values that do not vary decide nothing.
    """
    known = numbers(values)
    ours = summarise(known)
    if ours.n < 2 or ours.mean is None or ours.sd is None:
        return untested(label, ours.n, ours.mean)
    sd = max(ours.sd, least_sd(resolution))
    if not _varies(sd, [*known, margin]):
        return untested(label, ours.n, ours.mean)
    error = sd / math.sqrt(ours.n)
    half, statistic = t_quantile(ours.n - 1) * error, (ours.mean - margin) / error
    p_for, p_against = float(stdtr(ours.n - 1, -statistic)), float(stdtr(ours.n - 1, statistic))
    return Comparison(label, ours.n, ours.mean, ours.mean - half, ours.mean + half, statistic, p_for, p_against)


def average_above(places: Sequence[BySeed], margin: float, label: str = "", resolution: float = 0.0) -> Comparison:
    """Is the average over `places` above `margin`? Each holds one value for each seed.

    Places share seeds, and with them subsamples, noise and initial weights, so that their values go up and down
    together. Therefore each seed that all places have counts once, by its average over the places: a t test with n - 1
    degrees of freedom. `resolution` is that of one such average.
    """
    return above(list(per_seed(places).values()), margin, label, resolution)


def per_seed(places: Sequence[BySeed]) -> dict[int, float]:
    """The average over places of each seed that has a number at all of them.

    >>> per_seed([{0: 1.0, 1: 3.0}, {0: 3.0, 1: None}])
    {0: 2.0}
    """
    known = _known(places)
    return {seed: float(np.mean([place[seed] for place in known])) for seed in _common(known)}


def below(values: Values, margin: float, label: str = "", resolution: float = 0.0) -> Comparison:
    """Is the mean of `values` below `margin`? The mirror image of `above`; effect: the mean."""
    mirrored = above([-value for value in numbers(values)], -margin, label, resolution)
    return replace(
        mirrored,
        effect=_minus(mirrored.effect),
        low=_minus(mirrored.high),
        high=_minus(mirrored.low),
        statistic=_minus(mirrored.statistic),
    )


def within(values: Values, margin: float, label: str = "", resolution: float = 0.0) -> Comparison:
    """Is the mean of `values` between -margin and +margin? Two one-sided t tests. Effect: the mean.

    For: both must say so, so its p is the larger one. Against: the mean beyond either bound, Bonferroni-corrected.
    """
    below_it, above_it = below(values, margin, label, resolution), above(values, -margin, label, resolution)
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


def cost_ratio(
    costs: Values, others: Values, margin: float = 1.0, label: str = "", resolution: float = 0.0
) -> Comparison:
    """Is costs / others, run by run, above `margin`? t test on logarithms. Effect: the geometric mean of the ratios.

    Pairs without two costs above 0 do not count. `resolution` is that of a ratio, relative to it.
    """
    pairs = [pair for pair in zip(costs, others, strict=True) if len(numbers(pair)) == 2 and min(pair) > 0]
    found = above([math.log(cost / other) for cost, other in pairs], math.log(margin), label, resolution)
    effect, low, high = (None if value is None else math.exp(value) for value in (found.effect, found.low, found.high))
    return replace(found, effect=effect, low=low, high=high)


def spread_ratio(
    ours: Sequence[BySeed], others: Sequence[BySeed], label: str = "", resolution: float = 0.0
) -> Comparison:
    """Is the spread over seeds smaller in `ours` than in `others`? Brown and Forsythe's test.

    `ours[k]` and `others[k]` are the values at place k, by seed. Their test is the t test on absolute distances from
    the cell's median, which does not need normal values. Since places share seeds, each seed of a side counts once, by
    its average distance; at one place this is their test itself. Two values always lie equally far from their median:
    places with fewer than `FEWEST` on a side are left out. Effect: the ratio of the pooled sds, with the interval of an
    F ratio of n - 1 degrees each, too wide where places are independent (and it needs normal values: a rough one).
    """
    kept = [pair for pair in zip(*map(_known, (ours, others)), strict=True) if min(map(len, pair)) >= FEWEST]
    cells = [[pair[side] for pair in kept] for side in (0, 1)]
    sides = [np.array([[place[seed] for seed in _common(side)] for place in side]) for side in cells]
    n = min(len(_common(side)) for side in cells)
    if n < FEWEST:
        return untested(label, n)
    a, b = (np.abs(side - np.median(side, 1, keepdims=True)).mean(0) for side in sides)
    degrees = len(a) + len(b) - 2
    pooled = math.sqrt((((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / degrees)
    pooled = max(pooled, least_sd(resolution))
    if not _varies(pooled, np.concatenate([side.ravel() for side in sides])):
        return untested(label, n)
    statistic = float(b.mean() - a.mean()) / (pooled * math.sqrt(1 / len(a) + 1 / len(b)))
    p_for, p_against = float(stdtr(degrees, -statistic)), float(stdtr(degrees, statistic))
    effect, low, high = _sd_ratio(sides[0], sides[1], least_sd(resolution))
    return Comparison(label, n, effect, low, high, statistic, p_for, p_against)


def _known(places: Sequence[BySeed]) -> list[dict[int, float]]:
    return [{seed: known[0] for seed, value in place.items() if (known := numbers([value]))} for place in places]


def _common(places: Sequence[dict[int, float]]) -> list[int]:
    """The seeds that all places have."""
    return [seed for seed in places[0] if all(seed in place for place in places)] if places else []


def _sd_ratio(ours: np.ndarray, others: np.ndarray, least: float) -> tuple[float | None, float | None, float | None]:
    """Ratio of sds (places, seeds), pooled over places, with its 95 % F interval; None where the other sd is zero."""
    variances = [max(float(side.var(axis=1, ddof=1).mean()), least**2) for side in (ours, others)]
    if not _varies(math.sqrt(variances[1]), others.ravel()):
        return None, None, None
    ratio, freedom = variances[0] / variances[1], (ours.shape[1] - 1, others.shape[1] - 1)
    upper, lower = (float(fdtri(*freedom, 0.5 + side * LEVEL / 2)) for side in (1, -1))
    return math.sqrt(ratio), math.sqrt(ratio / upper), math.sqrt(ratio / lower)


def pearson(x: Values, y: Values) -> float | None:
    """Pearson's correlation over the places where both have a number; None where a side does not vary."""
    return _correlation(*_pairs(x, y))


def spearman(x: Values, y: Values) -> float | None:
    """Spearman's correlation: Pearson's of the ranks, ties shared.

    >>> spearman([1, 2, 3], [10, 100, 1000])
    1.0
    """
    return _correlation(*map(_ranks, _pairs(x, y)))


def _pairs(x: Values, y: Values) -> tuple[np.ndarray, np.ndarray]:
    """Both sides where both have a number."""
    a, b = (np.array([math.nan if value is None else value for value in side], float) for side in (x, y))
    known = np.isfinite(a) & np.isfinite(b)
    return a[known], b[known]


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 2 or not all(_varies(float(side.std()), side, 0.0) for side in (x, y)):
        return None
    a, b = x - x.mean(), y - y.mean()
    return float((a * b).sum() / math.sqrt(float((a**2).sum() * (b**2).sum())))


def _ranks(x: np.ndarray) -> np.ndarray:
    return np.array([(x < value).sum() + ((x == value).sum() + 1) / 2 for value in x], float)


def claim_p(comparisons: Sequence[Comparison]) -> tuple[float | None, float | None]:
    """One p value for and one against a claim that says something of several places at once.

    For: the claim must be true at every place, so its p is the largest of theirs; 1 if any place is degenerate, since
    there it cannot be shown. Against: one place where the opposite is true is enough, so its p is the smallest of
    theirs times the number of places (Bonferroni). None if there is no test at a place that is not degenerate, or if
    all are.
    """
    tested = [one for one in comparisons if not one.degenerate]
    for_it, against = (numbers([getattr(one, side) for one in tested]) for side in ("p_for", "p_against"))
    if not tested or not len(for_it) == len(against) == len(tested):
        return None, None
    return (max(for_it) if len(tested) == len(comparisons) else 1.0), min(1.0, len(comparisons) * min(against))


def any_degenerate(comparisons: Sequence[Comparison]) -> bool:
    """Whether a claim has a place that decides nothing, so that it cannot hold."""
    return any(one.degenerate for one in comparisons)


def weakest(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison with the least evidence for the claim: one that is degenerate, or has no test, before others."""
    ordered = [(one.degenerate != "", 2.0 if one.p_for is None else one.p_for) for one in comparisons]
    return comparisons[ordered.index(max(ordered))] if comparisons else None


def two_sided(p_for: float | None, p_against: float | None) -> float | None:
    """The two-sided p of a claim: twice the smaller one, at most 1."""
    sides = numbers([p_for, p_against])
    return min(1.0, 2 * min(sides)) if len(sides) == 2 else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over the p values that are there; None and NaN become None and do not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None and not math.isnan(p))
    corrected: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, place) in enumerate(order):
        so_far = max(so_far, min(1.0, p * (len(order) - rank)))
        corrected[place] = so_far
    return corrected


def claim_verdict(
    p_for: float | None, p_against: float | None, corrected: float | None, degenerate: bool = False
) -> str:
    """`holds` or `fails` where the corrected two-sided p is below 0.05, by the side it is on; else `inconclusive`.

    With a degenerate place among its places a claim never holds. It fails if it does at another one; else the verdict
    is `degenerate`.
    """
    sides, undecided = numbers([p_for, p_against]), "degenerate" if degenerate else "inconclusive"
    if len(sides) < 2 or not numbers([corrected]) or corrected is None or corrected >= ALPHA:
        return undecided
    return "fails" if sides[1] < sides[0] else undecided if degenerate else "holds"


def _varies(sd: float, values: Sequence[float] | np.ndarray, least: float = 1.0) -> bool:
    """Whether an sd is more than what rounding leaves, relative to its values, or to what they are differences of.

    `least`: at least so large; fractions, logarithms and ratios are of order one.
    """
    return sd > ROUNDING * max(least, float(np.max(np.abs(values), initial=0.0)))


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
