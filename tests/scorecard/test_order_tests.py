"""Claims about an order: Page's test against scipy's and by writing all orders out, and class frequency."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support.made_up_claims import body, decided, evidence

from reweigh import stats
from reweigh.scorecard import order_tests
from reweigh.scorecard.claim_tests import compared
from reweigh.scorecard.order_tests import page

ONE = "predict one class"


# --- Page's test -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(2, 4), (3, 3), (10, 3), (5, 4), (7, 6), (10, 7)])
def test_it_is_scipys_exact_test(n, k):
    scores = np.random.default_rng(n + k).normal(size=(n, k)) + 0.2 * np.arange(k)
    ours, theirs = page(scores), scipy_stats.page_trend_test(scores, method="exact")
    assert (ours.statistic, ours.n) == (theirs.statistic, n)
    assert ours.p_for == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.p_against == pytest.approx(
        scipy_stats.page_trend_test(scores[:, ::-1], method="exact").pvalue, abs=1e-12
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("gain", [0.0, 0.3, 1.0, -0.5])
def test_three_methods_over_ten_seeds_are_scipys_too(seed, gain):
    """The order Easy < Random < Hard as a claim sees it, at several true gains from one to the next."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(10, 3)) + random.normal(size=(10, 1)) + gain * np.arange(3)
    level = dict(zip("cba", scores.T, strict=True))
    verdict, (place,) = decided(scored(lambda setting, method, one: level[method][one], cells={"seeds": 10}))
    sides = {side: scipy_stats.page_trend_test(scores[:, ::step], method="exact") for side, step in ((1, 1), (-1, -1))}
    assert place.statistic == sides[1].statistic
    assert [place.p_for, place.p_against] == pytest.approx([sides[1].pvalue, sides[-1].pvalue], abs=1e-12)
    p = 2 * min(sides[1].pvalue, sides[-1].pvalue)
    decision = "inconclusive" if p >= 0.05 else "holds" if sides[1].pvalue < sides[-1].pvalue else "fails"
    assert verdict == decision


def test_each_step_of_an_order_is_a_claim_of_its_own_or_both_are_one():
    """Page's test sees a trend though one step is none. Each step is a paired test, and both together are one claim."""
    random = np.random.default_rng(0)
    level = {"a": 0.9, "b": 0.8, "c": 0.8}
    noise = 0.01 * random.normal(size=(3, 10))
    values = {name: level[name] + noise[place] for place, name in enumerate("abc")}

    def verdict_on(claim):
        keys = cells(seeds=10)
        columns = {(setting, name, seed): float(values[name][seed]) for setting, name, seed in keys}
        return decided(evidence(claim, {key: body() for key in keys}, test_accuracy=columns))

    assert verdict_on(ORDER)[0] == "holds"
    steps = [verdict_on({"test": "greater", "better": one, "worse": [other]}) for one, other in ("ab", "bc")]
    assert [verdict for verdict, _ in steps] == ["holds", "inconclusive"]
    for (_, (place,)), (one, other) in zip(steps, ("ab", "bc"), strict=True):
        theirs = scipy_stats.ttest_rel(values[one], values[other], alternative="greater")
        assert place.p_for == pytest.approx(theirs.pvalue)
    both, places = verdict_on({"test": "greater", "pairs": [["a", "b"], ["b", "c"]]})
    assert both == "inconclusive"
    assert [place.p_for for place in places] == [step[0].p_for for _, step in steps]


@pytest.mark.parametrize("true", [0.0, 0.001, 0.003, -0.006])
def test_equivalence_is_two_one_sided_tests_of_scipy(true):
    """`within` three tenths of a point, as a removal control asks it; ten seeds."""
    random = np.random.default_rng(5)
    values = {"a": 0.9 + true + 0.002 * random.normal(size=10), "b": 0.9 + 0.002 * random.normal(size=10)}
    keys, claim = cells("ab", seeds=10), {"test": "within", "better": "a", "worse": ["b"], "margin": 0.003}
    columns = {(setting, name, seed): float(values[name][seed]) for setting, name, seed in keys}
    fine = body(
        metrics={"confusion": [[40000, 10000], [10000, 40000]], "test_size": 100000, "per_group_accuracy": None}
    )
    verdict, (place,) = decided(evidence(claim, dict.fromkeys(keys, fine), test_accuracy=columns))
    gaps = values["a"] - values["b"]
    below = scipy_stats.ttest_1samp(gaps, 0.003, alternative="less").pvalue
    above = scipy_stats.ttest_1samp(gaps, -0.003, alternative="greater").pvalue
    assert place.p_for == pytest.approx(max(below, above))
    assert place.p_against == pytest.approx(min(1.0, 2 * min(1 - below, 1 - above)))
    p = min(1.0, 2 * min(place.p_for, place.p_against))
    assert verdict == ("inconclusive" if p >= 0.05 else "holds" if place.p_for < place.p_against else "fails")


def test_beyond_ten_columns_it_is_scipys_approximation():
    scores = np.random.default_rng(0).normal(size=(6, 11)) + 0.1 * np.arange(11)
    theirs = scipy_stats.page_trend_test(scores, method="asymptotic")
    assert page(scores).p_for == pytest.approx(theirs.pvalue, abs=1e-12)
    assert page(scores).p_for + page(scores).p_against == pytest.approx(1)


def test_the_approximation_is_close_to_what_is_exact(monkeypatch):
    scores = np.random.default_rng(3).normal(size=(10, 6)) + 0.05 * np.arange(6)
    exact = page(scores).p_for
    monkeypatch.setattr(order_tests, "EXACT", 0)
    assert page(scores).p_for == pytest.approx(exact, rel=0.1) and 0.001 < exact < 0.2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=3))
def test_with_ties_it_is_the_permutation_test(rows):
    """Every order of every seed's values is as likely as any other: written out, in fractions of their number."""
    scores, places = np.array(rows, float), np.arange(1, 4)
    ranks = [scipy_stats.rankdata(row) for row in scores]
    sums = [
        sum(places @ np.array(order) for order in orders)
        for orders in itertools.product(*(itertools.permutations(row) for row in ranks))
    ]
    found, here = page(scores), sum(places @ row for row in ranks)
    if all(len(set(row)) == 1 for row in rows):
        assert (found.p_for, found.effect) == (None, 0.0)
        return
    assert found.statistic == here
    assert found.p_for == pytest.approx(np.mean(np.array(sums) >= here), abs=1e-12)
    assert found.p_against == pytest.approx(np.mean(np.array(sums) <= here), abs=1e-12)


def test_the_effect_is_spearmans_correlation_with_the_order():
    scores = np.random.default_rng(1).normal(size=(5, 6))
    by_seed = [scipy_stats.spearmanr(row, range(6)).statistic for row in scores]
    assert page(scores).effect == pytest.approx(np.mean(by_seed))
    assert page(np.tile(np.arange(4.0), (2, 1))).effect == 1.0


def test_what_arithmetic_leaves_is_a_tie():
    assert page(np.array([[0.1 + 0.2, 0.3, 0.4]] * 3)) == page(np.array([[0.3, 0.3, 0.4]] * 3))


def test_two_columns_or_no_seed_have_no_order():
    assert page(np.ones((5, 2))).p_for is None and page(np.ones((0, 4))).n == 0


# --- as claims -------------------------------------------------------------------------------------------------------

ORDER = {"test": "ordered", "better": "a", "worse": ["b", "c"], "order": "methods"}


def cells(methods="abc", places="s", seeds=3):
    return [(setting, method, seed) for setting in places for method in methods for seed in range(seeds)]


def scored(values, **more):
    """Evidence of runs whose metric is `values` of their method or setting, and their seed."""
    keys = [key for key in cells(**more.pop("cells", {})) if values(*key) is not ...]
    claim = ORDER | more.pop("claim", {})
    metric = claim.get("metric", "test_accuracy")
    return evidence(claim, {key: body() for key in keys}, **{metric: {key: values(*key) for key in keys}}, **more)


def test_methods_are_named_from_the_best_on():
    level = {"a": 0.9, "b": 0.8, "c": 0.7}
    verdict, (place,) = decided(scored(lambda setting, method, seed: level[method] + 0.01 * seed))
    assert (verdict, place.effect, place.n) == ("holds", 1.0, 3)
    assert place.p_for == pytest.approx(1 / 6**3)
    verdict, _ = decided(scored(lambda setting, method, seed: -level[method] + 0.01 * seed))
    assert verdict == "fails"


def test_of_an_error_the_lower_is_better():
    level = {"a": 0.1, "b": 0.2, "c": 0.3}
    for metric, verdict in (("balanced_error", "holds"), ("balanced_accuracy", "fails")):
        found = scored(lambda setting, method, seed: level[method], claim={"metric": metric})
        assert decided(found)[0] == verdict


def test_settings_are_named_from_the_worst_on():
    """Figure 4: the more is held out, the lower the error."""
    level = {"x": 0.3, "y": 0.25, "z": 0.2}
    claim = {"worse": [], "order": "settings", "metric": "balanced_error", "settings": ["x", "y", "z"]}
    more = {"cells": {"methods": "a", "places": "zxy", "seeds": 4}, "claim": claim}
    verdict, (place,) = decided(scored(lambda setting, method, seed: level[setting] + 0.001 * seed, **more))
    assert (verdict, place.n, place.effect, place.label) == ("holds", 4, 1.0, "a over 3 settings")


def test_a_seed_counts_where_all_have_a_score():
    def value(setting, method, seed):
        return None if (method, seed) == ("b", 1) else ... if (method, seed) == ("c", 2) else ord(method)

    (place,) = decided(scored(value, cells={"seeds": 5}))[1]
    assert place.n == 3


def test_a_side_that_collapsed_decides_nothing():
    keys = cells()
    lost = {key: ONE if key[1] == "c" else "" for key in keys}
    verdict, (place,) = decided(scored(lambda setting, method, seed: -ord(method), lost=lost))
    assert verdict == "degenerate" and "predict one class" in place.degenerate and place.p_for is None


def test_no_effect_beyond_a_correlation_is_shown():
    (place,) = compared(scored(lambda setting, method, seed: -ord(method)))
    assert place.effect == 1.0 and place.low is None


# --- class frequency -------------------------------------------------------------------------------------------------

LEARNED = {"test": "follows_frequency", "better": "a", "trace": "l", "margin": 0.5}


def learned(monkeypatch, values, lost="", **claim):
    rows = iter(values)
    monkeypatch.setattr(order_tests, "logged", lambda *_, **__: next(rows))
    keys = cells("a", seeds=len(values))
    return decided(evidence(LEARNED | claim, {key: body() for key in keys}, lost=dict.fromkeys(keys, lost)))


def test_falling_and_rising_values_are_both_in_order(monkeypatch):
    falling = [[np.array([np.zeros(10), np.arange(10.0)[::-1] + shift])] for shift in range(3)]
    verdict, (place,) = learned(monkeypatch, falling)
    assert (verdict, place.effect, place.n) == ("holds", 1.0, 3)
    verdict, (place,) = learned(monkeypatch, [[-one] for (one,) in falling])
    assert (verdict, place.effect) == ("holds", -1.0)


def test_opposite_ways_are_no_order_and_no_order_fails(monkeypatch):
    up = [np.arange(10.0)[None]]
    verdict, (place,) = learned(monkeypatch, [up, [-up[0]], up, [-up[0]]])
    assert (verdict, place.effect) == ("inconclusive", 0.0)
    random = np.random.default_rng(0)
    verdict, (place,) = learned(monkeypatch, [[random.permutation(10.0 * np.arange(10))[None]] for _ in range(12)])
    assert verdict == "fails" and abs(place.effect) < 0.5


def test_its_p_is_that_of_two_t_tests(monkeypatch):
    random = np.random.default_rng(5)
    values = [np.arange(8.0) + 2 * random.normal(size=8) for _ in range(6)]
    found = learned(monkeypatch, [[one[None]] for one in values])[1][0]
    rho = [scipy_stats.spearmanr(one, range(8, 0, -1)).statistic for one in values]
    sides = [scipy_stats.ttest_1samp(rho, edge, alternative=way) for edge, way in ((0.5, "greater"), (-0.5, "less"))]
    assert found.effect == pytest.approx(np.mean(rho))
    assert found.p_for == pytest.approx(2 * min(one.pvalue for one in sides))
    other = [scipy_stats.ttest_1samp(rho, edge, alternative=way) for edge, way in ((0.5, "less"), (-0.5, "greater"))]
    assert found.p_against == pytest.approx(max(one.pvalue for one in other))


def test_three_runs_that_agree_to_the_last_rank_are_no_certainty(monkeypatch):
    found = learned(monkeypatch, [[np.arange(4.0)[None]]] * 3)[1][0]
    step = 12 / (4**3 - 4)
    t = 0.5 / (stats.least_sd(step) / math.sqrt(3))
    assert found.p_for == pytest.approx(2 * scipy_stats.t.sf(t, 2))


def test_what_did_not_move_or_was_not_logged_has_no_order(monkeypatch):
    still, table = [np.zeros((3, 10))], [np.zeros((3, 2, 2))]
    verdict, (place,) = learned(monkeypatch, [still, None, table, [np.empty((0, 10))]])
    assert (verdict, place.n) == ("inconclusive", 0)
    assert learned(monkeypatch, [[np.arange(10.0)[None]]] * 3, lost=ONE)[0] == "degenerate"


# --- in the config ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ({"order": None}, "ordered, and no other test, needs order"),
        ({"worse": ["b"]}, "ordered takes better and two of worse at least"),
        ({"order": "settings"}, "or the settings of better alone"),
        ({"margin": 0.1}, "ordered has no margin"),
        ({"test": "greater"}, "ordered, and no other test, needs order"),
        ({**LEARNED, "worse": [], "order": None, "margin": 0.0}, "follows_frequency needs a margin above 0"),
        ({**LEARNED, "worse": [], "order": None, "trace": None}, "needs trace: the name that it was logged by"),
    ],
)
def test_a_claim_that_says_too_little_is_refused(claim, says):
    with pytest.raises(ValidationError, match=says):
        evidence(ORDER | claim, {key: body() for key in cells()})
