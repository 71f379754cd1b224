"""Ranks over settings against scipy's tests, a published table, and brute force."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reweigh import ranks

# Demšar (2006), Table 5(a): q at α = 0.05 for two to ten methods, and 5(b)'s for α = 0.10.
PUBLISHED = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
PUBLISHED_TENTH = (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)
TABLES = st.integers(3, 6).flatmap(
    lambda methods: st.lists(
        st.lists(st.integers(0, 8).map(float), min_size=methods, max_size=methods), min_size=2, max_size=8
    )
)


def by_counting(row: list[float]) -> list[float]:
    return [1 + sum(other > one for other in row) + (row.count(one) - 1) / 2 for one in row]


@given(TABLES)
def test_ranks_by_counting(table: list[list[float]]) -> None:
    found = ranks.ranks(np.array(table))
    assert found.tolist() == [by_counting(row) for row in table]
    assert (found.sum(-1) == len(table[0]) * (len(table[0]) + 1) / 2).all()


@settings(max_examples=20)
@given(TABLES, st.randoms(use_true_random=False), st.floats(-3, 3))
def test_neither_order_nor_a_rising_function_matters(table: list[list[float]], dice: random.Random, by: float) -> None:
    scores = np.array(table)
    methods, blocks = (dice.sample(range(size), size) for size in (scores.shape[1], scores.shape[0]))
    plain, moved = ranks.ranks(scores), ranks.ranks(np.exp(scores[blocks][:, methods]) + by)
    assert moved.mean(0) == pytest.approx(plain.mean(0)[methods], abs=1e-12)
    one, other = ranks.friedman(plain), ranks.friedman(moved)
    assert (one.chi_square is None) == (other.chi_square is None)
    if one.chi_square is not None:
        assert (one.chi_square, one.p) == pytest.approx((other.chi_square, other.p), abs=1e-9)
    p, shuffled = ranks.signed_rank_p(scores), ranks.signed_rank_p(scores[blocks][:, methods])
    assert shuffled == pytest.approx(p[np.ix_(methods, methods)], abs=1e-12)


def test_what_diverged_is_last_and_what_was_not_run_is_refused() -> None:
    assert ranks.ranks(np.array([[0.1, -math.inf, 0.9, -math.inf]])).tolist() == [[2, 3.5, 1, 3.5]]
    with pytest.raises(ValueError, match="every method in every block"):
        ranks.ranks(np.array([[0.1, math.nan]]))


@given(TABLES)
def test_friedman_is_that_of_scipy(table: list[list[float]]) -> None:
    scores = np.array(table)
    assume((scores != scores[:, :1]).any())
    found, expected = ranks.friedman(ranks.ranks(scores)), scipy_stats.friedmanchisquare(*scores.T)
    assert (found.chi_square, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9, abs=1e-12)
    blocks, methods = scores.shape
    assert found.f is not None and found.p_f is not None
    if math.isfinite(found.f):
        f = (blocks - 1) * expected.statistic / (blocks * (methods - 1) - expected.statistic)
        assert found.f == pytest.approx(f, rel=1e-6)
        assert found.p_f == pytest.approx(scipy_stats.f.sf(f, methods - 1, (methods - 1) * (blocks - 1)), abs=1e-9)
    else:  # all blocks agree on every place: one order of k! for each block after the first
        assert found.p_f == pytest.approx(math.factorial(methods) ** -(blocks - 1.0))


def test_the_critical_difference_of_demsars_example() -> None:
    """Demšar's Table 6: four methods over 14 data sets differ by 1.12 ranks at α = 0.10."""
    assert ranks.critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=0.005)
    assert ranks.critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(20 / 84), abs=0.001)


def test_friedman_needs_methods_blocks_and_a_difference() -> None:
    nothing = ranks.Friedman(None, None, None, None)
    assert ranks.friedman(ranks.ranks(np.zeros((5, 4)))) == nothing
    assert ranks.friedman(ranks.ranks(np.random.default_rng(0).random((5, 2)))) == nothing
    assert ranks.friedman(ranks.ranks(np.random.default_rng(0).random((1, 5)))) == nothing


def test_nemenyis_quantiles_are_those_of_the_published_table() -> None:
    for alpha, table in ((0.05, PUBLISHED), (0.10, PUBLISHED_TENTH)):
        found = [ranks.nemenyi_quantile(methods, alpha) for methods in range(2, 11)]
        assert found == pytest.approx(table, abs=1.1e-3)


def test_nemenyis_difference_keeps_its_level_by_simulation() -> None:
    """The largest difference of two average ranks, without any difference, over many blocks."""
    ranked = np.random.default_rng(0).random((2000, 60, 8)).argsort(-1) + 1
    average = ranked.mean(1)
    share = ((average.max(1) - average.min(1)) > ranks.critical_difference(8, 60)).mean()
    assert share == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2000))


def every_sign(differences: list[float]) -> float:
    """The two-sided p of signed ranks by all 2^n signs, which is exact with ties too."""
    known = [one for one in differences if one]
    sizes = by_counting([-abs(one) for one in known])
    total, sums = sum(sizes), [
        sum(rank for rank, sign in zip(sizes, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(known))
    ]  # fmt: skip
    found = sum(rank for rank, one in zip(sizes, known, strict=True) if one > 0)
    extreme = abs(found - total / 2) - 1e-9
    return sum(abs(one - total / 2) >= extreme for one in sums) / len(sums)


@pytest.mark.parametrize("blocks", [2, 5, 8, 10])
def test_signed_ranks_by_all_signs_and_by_scipy(blocks: int) -> None:
    scores = np.random.default_rng(blocks).normal([0, 0.2, 0.6, 2], 1, (blocks, 4))
    found = ranks.signed_rank_p(scores)
    assert (np.diag(found) == 1).all() and (found == found.T).all()
    for one, other in itertools.combinations(range(4), 2):
        differences = (scores[:, one] - scores[:, other]).tolist()
        assert found[one, other] == pytest.approx(every_sign(differences), abs=1e-12)
        assert found[one, other] == pytest.approx(scipy_stats.wilcoxon(*scores[:, [one, other]].T).pvalue, abs=1e-12)
    assert (found >= ranks.least_signed_rank_p(blocks) - 1e-12).all()


def test_signed_ranks_of_what_ties_and_of_what_diverged() -> None:
    scores = np.array([[1.0, 1.0, 2.0], [3.0, 3.0, -math.inf], [-math.inf, -math.inf, 5.0], [0.5, 0.5, 0.7]])
    found = ranks.signed_rank_p(scores)
    assert found[0, 1] == 1
    like = scipy_stats.wilcoxon([1.0, -99.0, 99.0, 0.2]).pvalue  # two that are larger than the others, and tie
    assert found[0, 2] == pytest.approx(like)


@pytest.mark.parametrize("blocks", [2, 6, 9, 14])
def test_the_least_p_is_that_of_one_sign(blocks: int) -> None:
    assert ranks.least_signed_rank_p(blocks) == pytest.approx(scipy_stats.wilcoxon(np.arange(1.0, blocks + 1)).pvalue)


def test_holm_over_pairs_by_hand() -> None:
    p = np.array([[1, 0.01, 0.04], [0.01, 1, 0.03], [0.04, 0.03, 1]])
    assert ranks.holm_pairs(p) == pytest.approx(np.array([[1, 0.03, 0.06], [0.03, 1, 0.06], [0.06, 0.06, 1]]))


def all_bars(average: list[float], alike: np.ndarray) -> list[list[int]]:
    """Every run of neighbours without a different pair that lies in no larger one, by trying all of them."""
    order = sorted(range(len(average)), key=lambda method: (average[method], method))
    runs = [order[a:b] for a, b in itertools.combinations(range(len(order) + 1), 2) if b - a > 1]
    kept = [run for run in runs if all(alike[x, y] for x, y in itertools.combinations(run, 2))]
    return [run for run in kept if not any(set(run) < set(other) for other in kept)]


@given(st.integers(2, 9).flatmap(lambda k: st.tuples(
    st.lists(st.integers(1, 6).map(float), min_size=k, max_size=k),
    st.lists(st.booleans(), min_size=k * k, max_size=k * k),
)))  # fmt: skip
def test_bars_by_brute_force(drawn: tuple[list[float], list[bool]]) -> None:
    average, flags = drawn
    half = np.triu(np.array(flags).reshape(len(average), -1), 1)
    alike = half | half.T | np.eye(len(average), dtype=bool)
    assert ranks.cliques(average, alike) == all_bars(average, alike)


@given(st.lists(st.floats(1, 10), min_size=2, max_size=12), st.floats(0, 4))
def test_bars_of_nemenyi_join_all_that_do_not_differ(average: list[float], difference: float) -> None:
    alike = np.abs(np.subtract.outer(average, average)) <= difference
    bars = ranks.cliques(average, alike)
    for one, other in itertools.combinations(range(len(average)), 2):
        assert alike[one, other] == any(one in bar and other in bar for bar in bars)
