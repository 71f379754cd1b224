"""Claims of a difference in differences, `gains_more`: by hand, against scipy, and what they are not decided by."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support.made_up_claims import body, decided, evidence

from reweigh import stats
from reweigh.scorecard.claim_tests import DIFFERENCES, compared
from reweigh.scorecard.error_rates import excess_rates
from reweigh.scorecard.simulations import simulate_excess, simulate_quartiles

PAIRS = [["hard", "hard_removed"], ["random", "random_removed"]]
CLAIM = {"test": "gains_more", "pairs": PAIRS}
METHODS = [name for pair in PAIRS for name in pair]
STEP = 1 / 100  # of the accuracy of a made-up body, and of all four
ONE = "predict one class"


def scored(values, claim=CLAIM, lost=(), places="s", metric="test_accuracy"):
    """Evidence of runs with `values` of each method, a list over seeds; None where a run is not there."""
    keys = [(place, name, seed) for place in places for name in METHODS for seed in range(len(values[name]))]
    keys = [key for key in keys if values[key[1]][key[2]] is not None]
    bodies = {key: body() for key in keys}
    found = evidence(claim, bodies, **{metric: {key: values[key[1]][key[2]] for key in keys}})
    rows = found.runs["method"].isin(lost)
    found.runs.loc[rows, "lost"] = ONE
    return found


def test_it_is_the_difference_of_two_gains_by_hand():
    """(.80 - .70) - (.75 - .72) = .07, (.82 - .70) - (.76 - .71) = .07, (.84 - .70) - (.74 - .70) = .10: mean .08."""
    values = {
        "hard": [0.80, 0.82, 0.84], "hard_removed": [0.70] * 3,
        "random": [0.75, 0.76, 0.74], "random_removed": [0.72, 0.71, 0.70],
    }  # fmt: skip
    verdict, (place,) = decided(scored(values))
    assert (place.n, place.effect) == (3, pytest.approx(0.08))
    assert place.label == "s: hard over hard_removed beyond random over random_removed"
    error = 0.03 / math.sqrt(3) / math.sqrt(3)  # the sd of .07, .07, .10
    assert place.statistic == pytest.approx(0.08 / error)  # 8: one-sided p of t(2) is .0076
    assert place.p_for == pytest.approx(0.5 - 8 / (2 * math.sqrt(64 + 2)))  # the distribution function of t(2)
    assert verdict == "holds"


@pytest.mark.parametrize("margin", [0.0, 0.003, -0.01])
def test_it_is_scipys_test_of_the_four_way_difference(margin):
    random = np.random.default_rng(4)
    values = {name: random.normal(0.8, 0.03, 10).tolist() for name in METHODS}
    _, (place,) = decided(scored(values, CLAIM | {"margin": margin}))
    a, b, c, d = (np.array(values[name]) for name in METHODS)
    for side, alternative in ((place.p_for, "greater"), (place.p_against, "less")):
        assert side == pytest.approx(scipy_stats.ttest_1samp(a - b - (c - d), margin, alternative=alternative).pvalue)
    low, high = scipy_stats.ttest_1samp(a - b - (c - d), 0).confidence_interval()
    assert (place.low, place.high) == (pytest.approx(low), pytest.approx(high))
    paired = scipy_stats.ttest_rel(a - b, c - d, alternative="greater")
    assert margin or place.p_for == pytest.approx(paired.pvalue)


def test_more_gain_by_the_second_pair_fails_and_few_runs_decide_nothing():
    gains = {"hard": [0.71] * 5, "random": [0.78, 0.79, 0.80, 0.79, 0.78]} | dict.fromkeys(METHODS[1::2], [0.7] * 5)
    assert decided(scored(gains))[0] == "fails"
    assert decided(scored({name: found[:1] for name, found in gains.items()}))[0] == "inconclusive"
    few = gains | {"hard": [0.71, 0.74], "random": [0.75, 0.76]}  # -.04 and -.02: t of 3 with one degree of freedom
    assert decided(scored({name: found[:2] for name, found in few.items()}))[0] == "inconclusive"


def test_of_an_error_the_lower_one_is_the_gain():
    errors = {
        "hard": [0.1, 0.11, 0.1],
        "hard_removed": [0.3, 0.31, 0.3],
        "random": [0.2] * 3,
        "random_removed": [0.2] * 3,
    }
    for metric, verdict, effect in (("balanced_error", "holds", 0.2), ("test_accuracy", "fails", -0.2)):
        found = decided(scored(errors, CLAIM | {"metric": metric}, metric=metric))
        assert (found[0], found[1][0].effect) == (verdict, pytest.approx(effect))


def test_only_seeds_that_all_four_have_count():
    values = {name: [0.7 + 0.01 * place] * 5 for place, name in enumerate(METHODS)}
    values["random_removed"] = [0.7, None, 0.7, 0.7, None]
    assert decided(scored(values))[1][0].n == 3


def test_a_side_that_decides_nothing_makes_it_degenerate_whichever_it_is():
    values = {name: [0.9 - 0.1 * place + 0.01 * seed**place for seed in range(5)] for place, name in enumerate(METHODS)}
    assert decided(scored(values))[0] != "degenerate"
    for name in METHODS:
        verdict, (place,) = decided(scored(values, lost=[name]))
        assert (verdict, place.degenerate, place.p_for) == ("degenerate", f"5 of 5 runs of {name} {ONE}", None)


def test_equal_differences_are_worth_what_the_test_set_can_tell():
    """One example more in each of three seeds is no proof: each of the four is known to a hundredth only."""
    values = dict.fromkeys(METHODS, [0.7] * 3) | {"hard": [0.71] * 3}
    verdict, (place,) = decided(scored(values))
    assert verdict == "inconclusive"
    assert place.statistic == pytest.approx(0.01 / (2 * STEP / math.sqrt(12) / math.sqrt(3)))


def test_it_holds_at_every_setting_or_not_at_all():
    values = {name: [0.9 - 0.1 * place] * 4 for place, name in enumerate(METHODS)}
    values["hard"] = [0.95, 0.96, 0.97, 0.96]
    verdict, places = decided(scored(values, places="st"))
    assert verdict == "holds" and [place.label[0] for place in places] == ["s", "t"]


def test_its_interval_is_cut_at_two_whole_gains():
    """Four accuracies are 2 apart at most; the effect is a difference and shows its sign."""
    values = {"hard": [1.0, 0.9], "hard_removed": [0.0, 0.4], "random": [0.1, 0.2], "random_removed": [0.9, 0.8]}
    (place,) = compared(scored(values))
    assert (place.low, place.high) == (-2.0, 2.0) and "gains_more" in DIFFERENCES


@pytest.mark.parametrize(
    "pairs", [PAIRS[:1], [*PAIRS, ["a", "b"]], [["hard", "erm"], ["random", "erm"]], [["hard", "hard"], ["a", "b"]]]
)
def test_it_takes_two_pairs_of_four_methods(pairs):
    with pytest.raises(ValidationError, match="gains_more needs two pairs of four methods"):
        evidence(CLAIM | {"pairs": pairs}, {("s", "hard", 0): body()})
    with pytest.raises(ValidationError):
        evidence({"test": "gains_more", "better": "hard", "worse": ["random"]}, {("s", "hard", 0): body()})


# --- what n can decide -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 10])
def test_simulated_runs_are_decided_as_often_as_the_integral_says(n):
    """Independent runs of sd s: the four-way difference has 2 s. What the four of a seed share goes away."""

    for gain, shared in ((0.0, 0.0), (0.02, 0.0), (0.02, 0.9)):
        found = simulate_excess(n, gain, 0.005, shared, draws=3000)
        rates = excess_rates(gain, 0.005 * math.sqrt(1 - shared), n)
        for word in ("holds", "fails"):
            share, rate = np.mean([one == word for one in found]), rates[word]
            assert abs(share - rate) < 4 * math.sqrt(max(rate * (1 - rate), 1e-3) / 3000), (gain, shared, word)


def test_the_words_of_the_simulation_are_those_of_the_rule():
    assert set(simulate_excess(5, 0.0, 0.01, 0.0, draws=500)) <= {"holds", "fails", "inconclusive"}
    sides = stats.claim_p([stats.above([1.0, 1.1, 0.9], 0.0)])
    assert stats.claim_verdict(*sides, stats.two_sided(*sides)) == "holds"


def test_quartiles_of_rounds_are_no_interval_of_95_percent():
    """Of five rounds they are the second and the fourth: the median is between unless four or five lie on a side."""
    assert simulate_quartiles(5) == pytest.approx(1 - 2 * scipy_stats.binom.cdf(1, 5, 0.5), abs=0.01)
