"""Intervals and claim tests: by hand, by their properties, and where values tie or are missing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from support.seeds import by_seed

from reweigh import metrics, stats

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


def test_values_that_do_not_vary_decide_nothing_by_themselves() -> None:
    """Without a resolution there is no knowing how far apart they may be; no p is 0."""
    for values, margin in (([0.1] * 3, 0.0), ([0.1] * 3, 0.1), ([-0.1, -0.1], 0.0), ([0.0, 0.0], 0.0), ([0.3], 0.0)):
        for found in (stats.above(values, margin), stats.below(values, margin), stats.within(values, margin)):
            assert (found.p_for, found.p_against, found.statistic, found.low) == (None, None, None, None)
            assert found.effect == pytest.approx(values[0])
    assert stats.average_above([dict(enumerate([0.1] * 3))], 0.1).p_for is None
    assert stats.cost_ratio([3.0] * 3, [1.0] * 3).p_for is None


def test_ties_count_as_rounded_values_do() -> None:
    """Three equal differences of accuracies on 1,964 examples: their sd is taken as 1/1964 √2 / √12."""
    step = math.sqrt(2) / 1964
    found = stats.above([0.01] * 3, 0.0, resolution=step)
    assert found.statistic == pytest.approx(0.01 / (step / math.sqrt(12) / math.sqrt(3)))
    assert found.p_for == pytest.approx(scipy_stats.t.sf(found.statistic, 2)) and found.p_for > 0
    assert found.low < 0.01 < found.high
    assert stats.above([0.0] * 3, 0.0, resolution=step).p_for == pytest.approx(0.5)
    one_step = stats.above([step] * 3, 0.0, resolution=step)  # one example more in each of three seeds shows nothing
    assert stats.two_sided(one_step.p_for, one_step.p_against) > 0.05 / 10
    wide = [0.01, 0.02, 0.04]
    assert stats.above(wide, 0.0, resolution=step) == stats.above(wide, 0.0)  # an sd above that stays what it is


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("sd", [0.1, 0.3, 0.5, 1.0, 3.0])
def test_rounded_differences_are_seldom_decided_falsely(n: int, sd: float) -> None:
    """Differences in whole steps, with no true one, anywhere between two steps: wrong in 5 % at most, for any sd."""
    random, draws = np.random.default_rng([n, int(10 * sd)]), 4000
    true = random.uniform(-0.5, 0.5, (2, draws, 1))  # each side's level lies anywhere within a step
    sides = np.round(true[[0, 0]] + sd * random.standard_normal((2, draws, n)))
    found = [stats.above(row, 0.0, resolution=math.sqrt(2)) for row in sides[0] - sides[1]]
    wrong = np.mean([stats.two_sided(one.p_for, one.p_against) < stats.ALPHA for one in found])
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


MISSING = st.one_of(st.none(), st.just(math.nan), st.just(math.inf))
WITH_GAPS = st.lists(st.one_of(FRACTIONS, MISSING), max_size=8)


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


@given(WITH_GAPS, st.floats(-0.5, 0.5), st.sampled_from([0.0, 0.001]))
def test_what_is_no_number_counts_nowhere(values: list[float | None], margin: float, step: float) -> None:
    """None, NaN and infinity alike: every result is that of the numbers alone, and never NaN."""
    for test in (stats.above, stats.below, stats.within):
        found = test(values, margin, "", step)
        assert found == test(known(values), margin, "", step)
        assert all(math.isfinite(one) for one in (found.p_for, found.effect, found.low) if one is not None)
    assert stats.summarise(values) == stats.summarise(known(values))
    assert stats.numbers(values) == known(values)


@given(WITH_GAPS, st.lists(WITH_GAPS, min_size=1, max_size=3))
def test_pairs_and_places_without_a_number_are_left_out(values: list[float | None], others: list[list]) -> None:
    both = [(a, b) for a, b in zip(values, others[0], strict=False) if len(known([a, b])) == 2]
    x, y = ([pair[side] for pair in both] for side in (0, 1))
    length = min(len(values), len(others[0]))
    assert stats.pearson(values[:length], others[0][:length]) == stats.pearson(x, y)
    assert stats.spearman(values[:length], others[0][:length]) == stats.spearman(x, y)
    places = [dict(enumerate(place)) for place in (values, *others)]
    clean = [{seed: value for seed, value in place.items() if known([value])} for place in places]
    assert stats.average_above(places, 0.1) == stats.average_above(clean, 0.1)
    assert stats.spread_ratio(places, places[::-1]) == stats.spread_ratio(clean, clean[::-1])


@given(st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(0, 1)), max_size=10))
def test_holm_does_not_count_what_is_no_p_value(p_values: list[float | None]) -> None:
    clean = [p if p is not None and not math.isnan(p) else None for p in p_values]
    assert stats.holm(p_values) == stats.holm(clean)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_claim_without_a_p_value_is_inconclusive(missing: float | None) -> None:
    assert stats.claim_verdict(missing, 0.1, 0.001) == "inconclusive"
    assert stats.claim_verdict(0.1, missing, 0.001) == "inconclusive"
    assert stats.claim_verdict(0.1, 0.9, missing) == "inconclusive"
    assert stats.two_sided(missing, 0.1) is None and stats.two_sided(0.1, missing) is None
    lost = stats.Comparison("", 3, 0.1, None, None, None, missing, missing)
    assert stats.claim_p([lost, stats.above([0.1, 0.2, 0.3], 0)]) == (None, None)


@settings(max_examples=50)
@given(st.lists(st.lists(FRACTIONS, min_size=3, max_size=5), min_size=1, max_size=3))
def test_spread_of_one_setting_is_scipys_brown_forsythe(cells: list[list[float]]) -> None:
    ours, others = cells[0], [0.1, 0.5, 0.9, 0.2]
    found = stats.spread_ratio(by_seed([ours]), by_seed([others]))
    expected = scipy_stats.levene(ours, others, center="median")
    assert found.statistic**2 == pytest.approx(expected.statistic)
    assert 2 * min(found.p_for, found.p_against) == pytest.approx(expected.pvalue)


def test_spread_ratio_is_that_of_pooled_sds() -> None:
    ours, others = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[0.0, 0.2, 0.4], [0.1, 0.5, 0.9]]
    found = stats.spread_ratio(by_seed(ours), by_seed(others))
    assert found.effect == pytest.approx(math.sqrt((0.1**2 + 0.1**2) / (0.2**2 + 0.4**2)))
    assert found.low < found.effect < found.high
    assert stats.spread_ratio(by_seed([[0.1]]), by_seed([[0.2]])).p_for is None
    assert stats.spread_ratio(by_seed([[0.1, 0.2, 0.4]]), by_seed([[0.5] * 3])).effect is None


def test_two_runs_show_no_spread() -> None:
    """Both lie equally far from their median, by construction: pooled, they gave p = 0 in every case."""
    random = np.random.default_rng(0)
    for _ in range(20):
        ours, others = by_seed(random.normal(0, 1, (4, 2))), by_seed(random.normal(0, 1, (4, 2)))
        found = stats.spread_ratio(ours, others)
        assert (found.p_for, found.statistic, found.n) == (None, None, 0)
    three, kept = by_seed(random.normal(0, 1, (1, 3))), by_seed(random.normal(0, 2, (1, 3)))
    assert stats.spread_ratio([*ours, *three], [*others, *kept]) == stats.spread_ratio(three, kept)


def test_spreads_that_do_not_vary_decide_nothing_by_themselves() -> None:
    """Four values in two equal pairs are all equally far from their median; beside a constant that gave p = 0."""
    pairs, constant = by_seed([[0.1, 0.1, 0.3, 0.3]]), by_seed([[0.5] * 4])
    assert stats.spread_ratio(constant, pairs).p_for is None
    assert stats.spread_ratio(constant, constant).p_for is None
    found = stats.spread_ratio(constant, pairs, resolution=0.1)
    assert 0 < found.p_for < 0.05
    assert found.effect == pytest.approx(0.1 / math.sqrt(12) / np.std([0.1, 0.1, 0.3, 0.3], ddof=1))
    assert stats.spread_ratio(constant, constant, resolution=0.1).p_for == pytest.approx(0.5)


def test_three_runs_at_one_place_never_tell_spreads_apart() -> None:
    """The middle one lies at a distance of 0, always: a constant beside two equal ends is the utmost."""
    found = stats.spread_ratio(by_seed([[0.5] * 3]), by_seed([[0.0, 0.5, 1.0]]))
    assert found.statistic == pytest.approx(2.0) and 2 * found.p_for > 0.1


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
    assert stats.pearson([1, 1, 1], [1, 2, 3]) is None
    assert (
        stats.pearson([0.1] * 3, [0.1] * 3) is None
    )  # which do not vary, though their mean is not 0.1 to the last bit
    assert stats.spearman([0.1] * 3, [1, 2, 3]) is None
    assert stats.pearson([1e-15, 2e-15, 4e-15], [1, 2, 4]) == pytest.approx(1)


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


def test_a_claim_with_a_degenerate_place_never_holds_and_may_fail_elsewhere() -> None:
    sure, against = stats.above([0.10, 0.11, 0.12], 0), stats.above([-0.10, -0.11, -0.12], 0)
    lost = stats.undecided(sure, "3 of 3 runs of er predict one class")
    assert (lost.effect, lost.n, lost.p_for, lost.low, lost.statistic) == (sure.effect, 3, None, None, None)
    assert stats.undecided(sure, "") == sure
    assert stats.claim_p([lost]) == stats.claim_p([lost, lost]) == (None, None)
    assert decided([lost]) == decided([lost, sure]) == "degenerate"
    assert decided([sure, sure]) == "holds"
    assert decided([lost, against]) == "fails"
    assert stats.claim_p([lost, against]) == (1.0, pytest.approx(2 * against.p_against))
    assert stats.claim_p([lost, stats.above([0.1], 0)]) == (None, None)
    assert stats.weakest([against, lost, sure]) is lost and stats.weakest([sure, against]) is against
    assert stats.weakest([]) is None


def decided(places: list[stats.Comparison]) -> str:
    sides = stats.claim_p(places)
    return stats.claim_verdict(*sides, stats.two_sided(*sides), stats.any_degenerate(places))


# --- intervals of means of shares ---

SHARES = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=2, max_size=8)


@given(SHARES, st.sampled_from([(0.0, 1.0), (0.0, 2.0)]))
def test_an_interval_of_shares_stays_within_them_around_its_mean(values, ends):
    found, plain = stats.summarise(values, *ends), stats.summarise(values)
    assert ends[0] <= found.low <= found.mean + 1e-12 and found.mean - 1e-12 <= found.high <= ends[1]
    assert (found.mean, found.sd, found.n) == (plain.mean, plain.sd, plain.n)
    if ends[0] <= plain.low and plain.high <= ends[1]:
        assert found == plain


@given(SHARES)
def test_where_student_leaves_it_is_wilson_by_its_definition(values):
    """Both ends solve (m - x)² = h² x (1 - x) / (m (1 - m))."""
    found, plain = stats.summarise(values, 0.0, 1.0), stats.summarise(values)
    half, spread = plain.high - plain.mean, plain.mean * (1 - plain.mean)
    if (plain.low >= 0 and plain.high <= 1) or not spread:
        return
    for end in (found.low, found.high):
        assert (plain.mean - end) ** 2 == pytest.approx(half**2 * end * (1 - end) / spread, abs=1e-9)


def test_an_interval_of_errors_mirrors_that_of_accuracies():
    accuracies = [0.99, 1.0, 0.96]
    of, turned = stats.summarise(accuracies, 0, 1), stats.summarise([1 - one for one in accuracies], 0, 1)
    assert of.high < 1 and (turned.low, turned.high) == pytest.approx((1 - of.high, 1 - of.low))
    assert stats.summarise([1.0, 1.0], 0, 1).high == 1.0 and stats.inside(1.0, 0.1, 0.0, 1.0) == (0.9, 1.0)


def test_differences_and_what_is_no_share_keep_student():
    for name in ("test_accuracy_difference", "acc_gain", "seconds", "class_weight", "relative_gain"):
        assert metrics.ends(name) == (-math.inf, math.inf), name
    for name in ("test_accuracy", "balanced_error", "minority_recall", "per_group_recall", "macro_f1"):
        assert metrics.ends(name) == (0.0, 1.0), name
    assert metrics.ends("deo_error") == (0.0, 2.0)
