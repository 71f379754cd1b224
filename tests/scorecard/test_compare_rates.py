"""What n can decide for many methods on many settings: the fast rules are the rules, and rates are what theory says."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from support.project import ROOT

from reweigh import aggregates, ranks, stats
from reweigh.config.loading import load
from reweigh.scorecard import compare_rates, compare_tables, error_rates


def near(share: float, probability: float, draws: int) -> bool:
    """Within five standard errors of a simulated share."""
    return abs(share - probability) <= 5 * math.sqrt(max(probability * (1 - probability), 1 / draws) / draws)


# --- the rules for many draws at once are the rules ---


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=12))
def test_what_is_rejected_is_what_holm_rejects(p: list[float]) -> None:
    expected = [value is not None and value < stats.ALPHA for value in stats.holm(p)]
    assert compare_rates.rejected(np.array([p, p])).tolist() == [expected, expected]


def test_p_of_many_differences_is_the_paired_t_test() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, (20, 5))
    tests = [stats.above(row, 0.0) for row in differences]
    expected = [stats.two_sided(test.p_for, test.p_against) for test in tests]
    assert compare_rates.two_sided_p(differences) == pytest.approx(expected)


@pytest.mark.parametrize("blocks", [2, 5, 8, 14])
def test_signed_ranks_of_many_draws_are_those_of_one(blocks: int) -> None:
    scores = np.random.default_rng(blocks).normal([0, 0.3, 1, 3], 1, (10, blocks, 4))
    for draw in scores:
        expected = ranks.signed_rank_p(draw)
        for one, other in itertools.combinations(range(4), 2):
            found = compare_rates.signed_rank_p(draw[:, one] - draw[:, other])
            assert float(found) == pytest.approx(expected[one, other], abs=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_intervals_are_those_of_aggregates(together: bool) -> None:
    gains = np.random.default_rng(1).normal(0.2, 1, (3, 5))
    named = {f"setting {place:02}": dict(enumerate(row)) for place, row in enumerate(gains.tolist())}
    places = compare_rates._places(5, 3, together)
    expected = aggregates.aggregate_gain(named, compare_rates.REPLICATES, together)
    assert aggregates.interval(compare_rates._resampled(gains, places)) == (expected.low, expected.high)
    ours = np.random.default_rng(2).integers(0, 4, (3, 5)).astype(float)
    theirs = np.random.default_rng(3).integers(0, 4, (3, 5)).astype(float)
    sides = [
        {name: dict(enumerate(of)) for name, of in zip(named, side.tolist(), strict=True)} for side in (ours, theirs)
    ]
    shares = np.mean([compare_rates._share(*one) for one in zip(ours, theirs, places, strict=True)], axis=0)
    found = aggregates.improvement(sides[0], sides[1], compare_rates.REPLICATES, together)
    assert aggregates.interval(shares) == pytest.approx((found.low, found.high))


# --- the rates ---


def test_no_method_is_called_in_one_family_in_95_of_100() -> None:
    for n, methods, settings in ((5, 12, 1), (10, 18, 1), (5, 12, 14)):
        wrong, none = compare_rates.called(n, methods, 1, settings=settings)
        assert 0.03 < wrong < 0.05 + 5 * math.sqrt(0.05 * 0.95 * settings / compare_rates.DRAWS)
        assert math.isnan(none)
    assert compare_rates.anywhere(0.05, 14) == pytest.approx(1 - 0.95**14)
    assert compare_rates.anywhere(0.05, 1) == pytest.approx(0.05)


@pytest.mark.parametrize(("n", "methods", "gain", "sd"), [(5, 12, 1, 0.5), (10, 18, 2, 1.5)])
def test_the_power_lies_between_first_of_all_and_alone(n: int, methods: int, gain: float, sd: float) -> None:
    """Holm's first step asks for p below 0.05 over the number of rivals, its last one for 0.05."""
    _, right = compare_rates.called(n, methods, sd, (gain,))
    first, alone = (error_rates.claim_rates(gain, sd, n, tests)["holds"] for tests in (methods - 1, 1))
    assert first - 0.02 < right < alone
    assert right - first < 0.1  # one true gain among many without: nearly the first step alone


def test_power_grows_with_the_gain_and_falls_with_the_sd() -> None:
    rates = [[compare_rates.called(5, 12, sd, (gain,))[1] for gain in (0.5, 1, 2)] for sd in (0.5, 1.5)]
    assert all(row == sorted(row) for row in rates)
    assert all(small > large for small, large in zip(*rates, strict=True))


def test_the_bootstrap_is_too_sure_by_what_theory_says() -> None:
    """Resamples of n have the variance (n − 1)/n of that of runs; the middle half of many normal values is normal."""
    for n, settings in ((5, 14), (10, 14)):
        covered, width = compare_rates.coverage(n, settings, 0)
        reach = 1.96 * math.sqrt((n - 1) / n)
        assert near(covered, scipy_stats.norm.cdf(reach) - scipy_stats.norm.cdf(-reach), compare_rates.DRAWN_INTERVALS)
        efficient = (
            2 * 1.96 * 0.5 / math.sqrt(n * settings)
        )  # of the mean; the middle half has about 1.19 times the sd²
        assert 0.85 * efficient < width < 1.15 * efficient


def test_shared_luck_ruins_the_bootstrap_and_not_the_interval_by_seed() -> None:
    apart, together = (compare_rates.coverage(5, 14, 2, 0.5, one) for one in (False, True))
    assert apart[0] < 0.65 < together[0] < 0.92
    assert together[1] > 1.5 * apart[1]
    for correlation in (0.0, 0.5):
        for n in (5, 10):
            covered = compare_rates.by_seed_coverage(n, 8, 2, correlation)
            assert near(covered, 0.95, 10 * compare_rates.DRAWN_INTERVALS)


def test_the_interval_by_seed_is_that_of_aggregates() -> None:
    """Drawn again, with the function that figures use."""
    draws, true = 400, compare_rates.true_gains(8, 2)[:, None]
    gains = true + 0.5 * np.random.default_rng(4).standard_normal((draws, 8, 5))
    found = [
        aggregates.gain_by_seed({str(k): dict(enumerate(row)) for k, row in enumerate(one)}) for one in gains.tolist()
    ]
    target = np.mean([one.mean for one in found if one.mean is not None])
    assert near(np.mean([one.low <= target <= one.high for one in found]), 0.95, draws)  # type: ignore[operator]


def test_improvement_is_covered_where_nothing_is_shared() -> None:
    for gain in (0.0, 1.0):
        assert 0.88 < compare_rates.improvement_coverage(5, 8, gain) < 0.98
    assert compare_rates.improvement_coverage(5, 8, 1.0, 0.5) < 0.75


def test_true_gains_have_their_spread_and_no_mean() -> None:
    found = compare_rates.true_gains(200, 2)
    assert found.mean() == pytest.approx(0, abs=1e-9)
    assert found.std() == pytest.approx(2, rel=0.05)


def test_ranks_keep_their_level_over_settings_and_lose_it_over_seeds() -> None:
    for varies in (0.0, 1.0):
        found = compare_rates.ranked(5, 14, 12, varies=varies)
        assert near(found["iman_davenport"], 0.05, compare_rates.FEW_DRAWS)
        for test in ("friedman", "nemenyi", "signed_ranks"):
            assert found[test] < 0.05 + 5 * math.sqrt(0.05 * 0.95 / compare_rates.FEW_DRAWS)
    over_seeds = compare_rates.ranked(5, 8, 12, varies=1.0, by_seed=True)
    assert min(over_seeds["friedman"], over_seeds["nemenyi"]) > 0.8


def test_signed_ranks_need_settings() -> None:
    few, many = (compare_rates.ranked(5, settings, 12, gain=2.0, varies=0.5) for settings in (8, 14))
    assert few["signed_ranks_best"] == 0 and few["nemenyi_best"] > 0.3
    assert many["signed_ranks_best"] > 0.9


def test_the_winner_is_overstated_by_the_largest_of_so_many() -> None:
    """Without any true gain: the expected largest of k − 1 normal values, times the sd of a mean of runs."""
    for n, methods, settings in ((5, 12, 1), (10, 18, 1), (5, 12, 8)):
        found = compare_rates.winner(n, methods, 0, 0.5, settings)
        largest = np.random.default_rng(0).standard_normal((40_000, methods - 1)).max(1).mean()
        error = 0.5 / math.sqrt(2 * n * settings)
        assert found["overstated"] == pytest.approx(error * largest, abs=5 * error * 1.2 / math.sqrt(2000))
    clear = compare_rates.winner(10, 12, 50, 0.5)
    assert clear["best"] > 0.99 and abs(clear["overstated"]) < 0.02 and near(clear["covered"], 0.95, 2000)


def test_spreads_are_those_of_the_records() -> None:
    found = compare_tables.spreads(load(ROOT)).set_index("experiment")
    assert {"autobalance/mnist-lt", "har/mnist-hetero", "tdr/adult", "tdr/mnist-4v9"} <= set(found.index)
    quantiles = found[["25 %", "50 %", "75 %"]]
    assert (quantiles.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None) and (quantiles > 0).all(axis=None)
    correlations = found[["two settings", "two methods"]]
    assert (correlations.abs().fillna(0) <= 1).all(axis=None)
    assert correlations.loc["tdr/adult"].isna().tolist() == [True, False]  # one setting alone


def test_a_cell_with_a_run_that_predicts_one_class_has_no_spread() -> None:
    config = load(ROOT)
    gains = [0.5, 0.52, 0.54, 0.56, 0.59]
    accuracies = {"erm": [0.5] * 5, "absgd": gains, "focal": [*gains[:4], 0.1]}
    runs = pd.DataFrame(
        [
            {"setting": "lt100", "method": method, "seed": seed, "test_accuracy": value, "collapsed": value == 0.1}
            for method, values in accuracies.items()
            for seed, value in enumerate(values)
        ]
    )
    found = compare_tables.gains_of(config, "compare", runs)
    assert list(found) == [("lt100", "absgd")]
    assert found["lt100", "absgd"].tolist() == pytest.approx([gain - 0.5 for gain in gains])
