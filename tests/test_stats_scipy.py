"""Intervals and claim tests against scipy, to twelve digits, and by simulation where places share seeds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from support.seeds import by_seed, together

from reweigh import stats

TIGHT = {"rel": 1e-12, "abs": 1e-15}
SEEDED = [(n, draw) for n in (2, 3, 5, 10) for draw in range(10)]


def sample(*names: int) -> np.ndarray:
    """Normal accuracies, a different mean and spread in each."""
    random = np.random.default_rng(names)
    return random.normal(random.uniform(0.3, 0.9), random.uniform(0.001, 0.1), names[0])


@pytest.mark.parametrize(("n", "draw"), SEEDED)
def test_means_and_intervals_to_twelve_digits(n: int, draw: int) -> None:
    values = sample(n, draw)
    ours = stats.summarise(values.tolist())
    low, high = scipy_stats.t.interval(0.95, n - 1, values.mean(), scipy_stats.sem(values))
    expected = (n, values.mean(), scipy_stats.tstd(values), low, high)
    assert (ours.n, ours.mean, ours.sd, ours.low, ours.high) == pytest.approx(expected, **TIGHT)


@pytest.mark.parametrize(("n", "draw"), SEEDED)
def test_paired_t_tests_to_twelve_digits(n: int, draw: int) -> None:
    ours, theirs = sample(n, draw), sample(n, draw, 1)
    found = stats.above((ours - theirs).tolist(), 0.0)
    greater, less = (scipy_stats.ttest_rel(ours, theirs, alternative=side) for side in ("greater", "less"))
    interval = scipy_stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.statistic, found.p_for, found.p_against) == pytest.approx(
        (greater.statistic, greater.pvalue, less.pvalue), **TIGHT
    )
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), **TIGHT)
    both = scipy_stats.ttest_rel(ours, theirs).pvalue
    assert stats.two_sided(found.p_for, found.p_against) == pytest.approx(both, **TIGHT)
    one = scipy_stats.ttest_1samp(ours, 0.5, alternative="less")
    assert stats.below(ours.tolist(), 0.5).p_for == pytest.approx(one.pvalue, **TIGHT)


@pytest.mark.parametrize(("n", "draw"), SEEDED)
def test_equivalence_is_two_one_sided_tests(n: int, draw: int) -> None:
    values = sample(n, draw) - sample(n, draw, 1).mean()
    found = stats.within(values.tolist(), 0.05)
    inside = [
        scipy_stats.ttest_1samp(values, bound, alternative=side).pvalue
        for bound, side in ((-0.05, "greater"), (0.05, "less"))
    ]
    beyond = [
        scipy_stats.ttest_1samp(values, bound, alternative=side).pvalue
        for bound, side in ((-0.05, "less"), (0.05, "greater"))
    ]
    assert found.p_for == pytest.approx(max(inside), **TIGHT)
    assert found.p_against == pytest.approx(min(1, 2 * min(beyond)), **TIGHT)


@pytest.mark.parametrize(("n", "draw"), [one for one in SEEDED if one[0] > 2])
def test_spreads_pooled_over_settings_to_twelve_digits(n: int, draw: int) -> None:
    """One setting is scipy's Brown-Forsythe test; several are a t test on mean distances from the medians, by seed."""
    ours, theirs = ([sample(n, draw, side, cell) for cell in range(3)] for side in (0, 1))
    single = stats.spread_ratio(by_seed(ours[:1]), by_seed(theirs[:1]))
    levene = scipy_stats.levene(ours[0], theirs[0], center="median")
    assert single.statistic**2 == pytest.approx(levene.statistic, rel=1e-11)
    assert stats.two_sided(single.p_for, single.p_against) == pytest.approx(levene.pvalue, rel=1e-11)
    found = stats.spread_ratio(by_seed(ours), by_seed(theirs))
    mine, others = (np.mean([abs(cell - np.median(cell)) for cell in cells], axis=0) for cells in (ours, theirs))
    test = scipy_stats.ttest_ind(others, mine, alternative="greater")
    assert (found.statistic, found.p_for) == pytest.approx((test.statistic, test.pvalue), **TIGHT)
    variances = [np.mean([cell.var(ddof=1) for cell in cells]) for cells in (ours, theirs)]
    ratio, freedom = variances[0] / variances[1], scipy_stats.f(n - 1, n - 1)
    expected = np.sqrt([ratio, ratio / freedom.ppf(0.975), ratio / freedom.ppf(0.025)])
    assert (found.effect, found.low, found.high) == pytest.approx(tuple(expected), rel=1e-11)


@pytest.mark.parametrize(("n", "draw"), [one for one in SEEDED if one[0] > 2])
def test_correlations_to_twelve_digits(n: int, draw: int) -> None:
    x, y = sample(n, draw), sample(n, draw, 1)
    assert stats.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, **TIGHT)
    x, y = x.round(1), y.round(1)  # with ties
    if np.ptp(x) and np.ptp(y):
        assert stats.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, **TIGHT)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_the_interval_of_a_spread_ratio_covers_it(correlation: float) -> None:
    """In 95 % where places go up and down together entirely; in more where they do not."""
    random = np.random.default_rng(3)
    pairs = [together(random, (2, 3, 5), correlation) * [[[0.02]], [[0.04]]] for _ in range(2000)]
    found = [stats.spread_ratio(by_seed(ours), by_seed(others)) for ours, others in pairs]
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.02) if correlation == 1 else covered > 0.95


@pytest.mark.parametrize("correlation", [0.0, 0.75])
def test_the_test_of_an_average_is_uniform_without_a_difference(correlation: float) -> None:
    """Places of several means that average to the margin: p is uniform, and the interval covers 95 %."""
    shifts = np.linspace(-0.03, 0.03, 4)[:, None]
    draws = 0.1 + shifts + 0.02 * together(np.random.default_rng(4), (3000, 4, 5), correlation)
    found = [stats.average_above(by_seed(draw), 0.1) for draw in draws]
    assert scipy_stats.kstest([one.p_for for one in found], "uniform").pvalue > 0.01
    assert np.mean([one.low <= 0.1 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


def test_an_average_takes_the_seeds_that_all_places_have() -> None:
    values = sample(5, 0)
    found, test = stats.average_above(by_seed([values]), 0.5), scipy_stats.ttest_1samp(values, 0.5)
    assert (found.statistic, stats.two_sided(found.p_for, found.p_against)) == pytest.approx(
        (test.statistic, test.pvalue), **TIGHT
    )
    places = [{0: 0.1, 1: 0.2, 2: 0.4, 3: 9.0}, {2: 0.2, 1: 0.4, 0: 0.3, 3: None}]
    assert stats.per_seed(places) == pytest.approx({0: 0.2, 1: 0.3, 2: 0.3})
    assert stats.average_above(places, 0.0).n == 3
    assert stats.average_above([{0: 1.0, 1: 2.0}, {2: 1.0}], 0.0).p_for is None
    assert stats.average_above([], 0.0).effect is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.floats(0.001, 0.999))
def test_holm_rejects_step_by_step(p_values: list[float], level: float) -> None:
    """By its definition: the smallest p against level / m, the next against level / (m - 1), until one is not below."""
    rejected, order = set(), sorted(range(len(p_values)), key=lambda place: p_values[place])
    for done, place in enumerate(order):
        if not p_values[place] * (len(p_values) - done) < level:
            break
        rejected.add(place)
    corrected = stats.holm(p_values)
    assert {place for place, p in enumerate(corrected) if p is not None and p < level} == rejected


# --- places that share seeds ---


def pooled_p(differences: np.ndarray) -> np.ndarray:
    """What this test was before: one variance pooled within places, which were taken as independent. -> (draws,)"""
    _, places, n = differences.shape
    error = np.sqrt(differences.var(2, ddof=1).mean(1) / (places * n))
    return 2 * scipy_stats.t.sf(abs(differences.mean((1, 2)) / error), places * (n - 1))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_an_average_over_places_that_share_seeds_is_seldom_decided_falsely(n: int) -> None:
    draws = 2000
    differences = together(np.random.default_rng(n), (draws, 8, n), 0.75)
    found = [stats.average_above(by_seed(row), 0.0) for row in differences]
    wrong = np.mean([stats.two_sided(one.p_for, one.p_against) < stats.ALPHA for one in found])
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)
    assert (pooled_p(differences) < stats.ALPHA).mean() > 0.25
    assert {one.n for one in found} == {n}


def pooled_spread_p(ours: np.ndarray, others: np.ndarray) -> float:
    """What this test was before: every distance from a cell's median counted as one of its own."""
    sides = [np.abs(side - np.median(side, 1, keepdims=True)).ravel() for side in (ours, others)]
    return scipy_stats.ttest_ind(*sides).pvalue


@pytest.mark.parametrize("n", [3, 5, 10])
def test_spreads_over_places_that_share_seeds_are_seldom_told_apart_falsely(n: int) -> None:
    draws, random = 2000, np.random.default_rng(n)
    ours, others = (together(random, (draws, 8, n), 0.75) for _ in range(2))
    found = [stats.spread_ratio(by_seed(a), by_seed(b)) for a, b in zip(ours, others, strict=True)]
    wrong = np.mean([stats.two_sided(one.p_for, one.p_against) < stats.ALPHA for one in found])
    assert wrong <= 0.05
    pairs = list(zip(ours, others, strict=True))[:500]
    assert np.mean([pooled_spread_p(a, b) < stats.ALPHA for a, b in pairs]) > 0.15
