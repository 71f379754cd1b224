"""Intervals and claim tests: against scipy (to 1e-12), by hand, by simulation, and by their properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reweigh import stats

FRACTIONS = st.floats(0, 1).map(lambda value: round(value, 4))
SAMPLES = st.lists(FRACTIONS, min_size=2, max_size=8)
P_VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12)


def test_a_summary_by_hand() -> None:
    ours = stats.summarise([0.90, 0.92, 0.94])
    # sd = 0.02, standard error 0.02/√3, t(0.975, 2) = 4.302653
    assert ours.mean == pytest.approx(0.92)
    assert ours.sd == pytest.approx(0.02)
    assert ours.high - ours.mean == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)


def test_one_value_has_no_interval_and_none_has_nothing() -> None:
    assert stats.summarise([0.5]) == stats.Summary(1, 0.5, None, None, None)
    assert stats.summarise([]) == stats.Summary(0, None, None, None, None)


@given(SAMPLES)
def test_intervals_are_scipys(values: list[float]) -> None:
    ours = stats.summarise(values)
    if ours.sd and ours.sd > 1e-9:
        expected = scipy_stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy_stats.sem(values))
        assert (ours.low, ours.high) == pytest.approx(expected)


@given(SAMPLES, st.floats(-0.5, 0.5))
def test_above_is_scipys_one_sample_t_test(values: list[float], margin: float) -> None:
    found = stats.above(values, margin)
    if np.std(values) > 1e-6:
        expected = scipy_stats.ttest_1samp(values, margin, alternative="greater")
        assert found.statistic == pytest.approx(expected.statistic)
        assert found.p_for == pytest.approx(expected.pvalue)
        assert found.p_for + found.p_against == pytest.approx(1)


def test_below_mirrors_above() -> None:
    values = [0.2, 0.3, 0.25]
    found = stats.below(values, 0.9)
    assert found.p_for == pytest.approx(scipy_stats.ttest_1samp(values, 0.9, alternative="less").pvalue)
    assert found.effect == pytest.approx(0.25)
    assert found.low < 0.25 < found.high


def test_equal_differences_decide_by_their_mean_and_none_by_nothing() -> None:
    assert stats.above([0.1, 0.1, 0.1], 0.0).p_for == 0.0
    assert stats.above([-0.1, -0.1], 0.0).p_against == 0.0
    assert stats.above([0.0, 0.0], 0.0).p_for == 0.5
    assert stats.above([0.3], 0.0).p_for is None


@settings(max_examples=50)
@given(st.lists(st.lists(FRACTIONS, min_size=3, max_size=5), min_size=1, max_size=3))
def test_spread_of_one_setting_is_scipys_brown_forsythe(cells: list[list[float]]) -> None:
    ours, others = cells[0], [0.1, 0.5, 0.9, 0.2]
    found = stats.spread_ratio([ours], [others])
    expected = scipy_stats.levene(ours, others, center="median")
    assert found.statistic**2 == pytest.approx(expected.statistic)
    assert 2 * min(found.p_for, found.p_against) == pytest.approx(expected.pvalue)


def test_spread_ratio_is_that_of_pooled_sds() -> None:
    ours, others = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[0.0, 0.2, 0.4], [0.1, 0.5, 0.9]]
    found = stats.spread_ratio(ours, others)
    assert found.effect == pytest.approx(math.sqrt((0.1**2 + 0.1**2) / (0.2**2 + 0.4**2)))
    assert found.low < found.effect < found.high
    assert stats.spread_ratio([[0.1]], [[0.2]]).p_for is None
    assert stats.spread_ratio([[0.1, 0.2]], [[0.5, 0.5]]).effect is None


def test_cost_ratio_is_a_geometric_mean() -> None:
    found = stats.cost_ratio([2.0, 8.0], [1.0, 2.0], margin=10.0)
    assert found.effect == pytest.approx(math.sqrt(2 * 4))
    assert found.p_against < 0.5 < found.p_for


@given(st.lists(FRACTIONS, min_size=3, max_size=10, unique=True), st.randoms())
def test_correlations_are_scipys(x: list[float], random: object) -> None:
    y = [value**2 + random.random() for value in x]
    assert stats.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, abs=1e-6)
    assert stats.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-6)


def test_correlation_with_ties_and_without_spread() -> None:
    x, y = [1, 2, 2, 3], [1, 3, 2, 2]
    assert stats.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    assert stats.pearson([1, 1, 1], [1, 2, 3]) == 0.0


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, None]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06), None]
    assert stats.holm([]) == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_never_helps(p_values: list[float | None]) -> None:
    corrected = stats.holm(p_values)
    known = sorted((p, q) for p, q in zip(p_values, corrected, strict=True) if p is not None)
    assert [p is None for p in p_values] == [q is None for q in corrected]
    assert all(p <= q <= min(1.0, p * len(known)) + 1e-12 for p, q in known)
    assert [q for _, q in known] == sorted(q for _, q in known)


def test_a_claim_needs_every_place_and_falls_with_one() -> None:
    sure, unsure = stats.above([0.10, 0.11, 0.12], 0), stats.above([0.1, -0.1, 0.05], 0)
    against = stats.above([-0.10, -0.11, -0.12], 0)
    assert stats.claim_p([sure, unsure]) == (unsure.p_for, pytest.approx(min(1, 2 * unsure.p_against)))
    assert stats.claim_p([sure, stats.above([0.1], 0)]) == (None, None)
    p_for, p_against = stats.claim_p([sure, against])
    assert stats.claim_verdict(p_for, p_against, stats.two_sided(p_for, p_against)) == "fails"
    p_for, p_against = stats.claim_p([sure])
    assert stats.claim_verdict(p_for, p_against, stats.two_sided(p_for, p_against)) == "holds"
    assert stats.claim_verdict(p_for, p_against, 0.06) == "inconclusive"
    assert stats.claim_verdict(None, None, None) == "inconclusive"


# --- against scipy, to twelve digits, on samples like those of seeds ---

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
    """One setting is scipy's Brown-Forsythe test; several are a t test on all distances from the cells' medians."""
    ours, theirs = ([sample(n, draw, side, cell) for cell in range(3)] for side in (0, 1))
    single = stats.spread_ratio(ours[:1], theirs[:1])
    levene = scipy_stats.levene(ours[0], theirs[0], center="median")
    assert single.statistic**2 == pytest.approx(levene.statistic, rel=1e-11)
    assert stats.two_sided(single.p_for, single.p_against) == pytest.approx(levene.pvalue, rel=1e-11)
    found = stats.spread_ratio(ours, theirs)
    mine, others = (np.concatenate([abs(cell - np.median(cell)) for cell in cells]) for cells in (ours, theirs))
    test = scipy_stats.ttest_ind(others, mine, alternative="greater")
    assert (found.statistic, found.p_for) == pytest.approx((test.statistic, test.pvalue), **TIGHT)
    variances = [np.mean([cell.var(ddof=1) for cell in cells]) for cells in (ours, theirs)]
    ratio, freedom = variances[0] / variances[1], scipy_stats.f(3 * (n - 1), 3 * (n - 1))
    expected = np.sqrt([ratio, ratio / freedom.ppf(0.975), ratio / freedom.ppf(0.025)])
    assert (found.effect, found.low, found.high) == pytest.approx(tuple(expected), rel=1e-11)


@pytest.mark.parametrize(("n", "draw"), [one for one in SEEDED if one[0] > 2])
def test_correlations_to_twelve_digits(n: int, draw: int) -> None:
    x, y = sample(n, draw), sample(n, draw, 1)
    assert stats.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, **TIGHT)
    x, y = x.round(1), y.round(1)  # with ties
    if np.ptp(x) and np.ptp(y):
        assert stats.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, **TIGHT)


def test_the_interval_of_a_spread_ratio_covers_it() -> None:
    random = np.random.default_rng(3)
    found = [stats.spread_ratio(random.normal(0, 0.02, (3, 5)), random.normal(0, 0.04, (3, 5))) for _ in range(2000)]
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5, 2, 3, 10)])
def test_the_pooled_test_of_an_average_is_uniform_without_a_difference(sizes: tuple[int, ...]) -> None:
    """Cells of several sizes and means that average to the margin: p is uniform, and the interval covers 95 %."""
    random, shifts = np.random.default_rng(4), np.linspace(-0.03, 0.03, len(sizes))
    found = [
        stats.average_above([random.normal(0.1 + s, 0.02, n) for s, n in zip(shifts, sizes, strict=True)], 0.1)
        for _ in range(3000)
    ]
    assert scipy_stats.kstest([one.p_for for one in found], "uniform").pvalue > 0.01
    assert np.mean([one.low <= 0.1 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


def test_the_average_of_one_place_is_the_t_test_there() -> None:
    values = sample(5, 0)
    found, test = stats.average_above([values.tolist()], 0.5), scipy_stats.ttest_1samp(values, 0.5)
    assert (found.statistic, stats.two_sided(found.p_for, found.p_against)) == pytest.approx(
        (test.statistic, test.pvalue), **TIGHT
    )


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
