"""Tests of claims about more than the last score, on examples worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support.made_up_claims import body, evidence
from support.project import ROOT

from reweigh import stats
from reweigh.analysis import tables
from reweigh.analysis.reached import Reached
from reweigh.config.claim import Claim
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.scorecard import curve_tests
from reweigh.scorecard.claim_tests import TESTS
from reweigh.scorecard.evidence import Evidence

# --- when a level is reached -----------------------------------------------------------------------------------------


def at(*values):
    return [Reached(float(value), True) for value in values]


def test_earlier_is_a_t_test_of_logarithms():
    ours, theirs = (20.0, 25.0, 22.0), (2.0, 1.0, 2.0)
    found = curve_tests.earlier(at(*ours), at(*theirs))
    test = scipy_stats.ttest_1samp(np.log(np.array(ours) / theirs), 0)
    assert found.p_for > 0.97 and found.p_against == pytest.approx(test.pvalue / 2)
    assert found.effect == pytest.approx((10 * 25 * 11) ** (1 / 3)) and found.n == 3
    assert found.low < found.effect < found.high
    mirrored = curve_tests.earlier(at(*theirs), at(*ours))
    assert mirrored.p_for == pytest.approx(found.p_against) and mirrored.effect == pytest.approx(1 / found.effect)


def test_one_that_never_comes_speaks_for_the_other_side_only():
    never = Reached(100.0, False)
    found = curve_tests.earlier(at(3, 4, 5), [never, *at(50, 40)], label="x")
    assert found.p_for < 0.05 and found.p_against == 1.0 and found.low is None and found.high is None
    assert found.label == "x (1 of 3 theirs never)" and found.n == 3
    other = curve_tests.earlier([never, *at(50, 40)], at(3, 4, 5))
    assert other.p_for == 1.0 and other.p_against == pytest.approx(found.p_for)
    both = curve_tests.earlier([never, *at(5, 5)], [*at(5, 5), never])
    assert both.p_for == both.p_against == 1.0
    assert (
        stats.claim_verdict(both.p_for, both.p_against, stats.two_sided(both.p_for, both.p_against)) == "inconclusive"
    )


def test_pairs_in_which_neither_comes_do_not_count():
    never = Reached(100.0, False)
    found = curve_tests.earlier([never, *at(3, 4, 6)], [never, *at(30, 40, 50)], label="x")
    assert found.n == 3 and found.p_for < 0.05 and found.p_against > 0.9 and found.low is not None
    assert found.label == "x (in 1 of 4 pairs neither)"
    nothing = curve_tests.earlier([never] * 3, [never] * 3, label="x")
    assert (nothing.n, nothing.effect, nothing.p_for, nothing.p_against) == (0, None, None, None)
    assert curve_tests.earlier([], []).p_for is None


def test_first_epochs_that_agree_are_known_to_an_epoch_only():
    """Three pairs of epoch 1 against epoch 3: no spread, and yet no certainty."""
    found = curve_tests.earlier([Reached(1.0, True, 1.0)] * 3, [Reached(3.0, True, 1 / 3)] * 3)
    assert 0.005 < found.p_for < 0.2
    assert curve_tests.earlier(at(1, 1, 1), at(3, 3, 3)).p_for is None  # without a resolution nothing varies


def speeds(test, **columns):
    claim = {"test": test, "better": "tdr", "worse": ["er"], "level": 0.85}
    slow = {"epoch": [1, 2, 3, 4], "train_seconds": [1.0, 2.0, 3.0, 4.0], "test_accuracy": [0.5, 0.6, 0.7, 0.86]}
    early = [[0.9, 0.5, None, float("nan")], [0.5, 0.95, 0.5, 0.5], [0.85, 0.5, 0.5, 0.5]]
    bodies = {("s", "tdr", seed): body(curves=slow) for seed in range(3)}
    for seed, accuracies in enumerate(early):
        curves = {"epoch": [1, 2, 3, 4], "train_seconds": [2.0, 4.0, 6.0, 8.0], "test_accuracy": accuracies}
        bodies["s", "er", seed] = body(curves=curves, status="diverged" if seed == 0 else "finished")
    return TESTS[test](evidence(claim, bodies, **columns))


def test_epochs_and_seconds_until_a_level_whatever_happens_later():
    lost = {("s", "er", seed): "predict one class" for seed in range(3)}
    (epochs,) = speeds("reaches_in_fewer_epochs", lost=lost | {("s", "tdr", seed): "" for seed in range(3)})
    assert epochs.effect == pytest.approx((4 * 2 * 4) ** (1 / 3)) and epochs.n == 3 and not epochs.degenerate
    (seconds,) = speeds("reaches_in_less_time")
    assert seconds.effect == pytest.approx((2 * 1 * 2) ** (1 / 3)) and seconds.label == "s against er"


@pytest.mark.parametrize("test", ["reaches_in_fewer_epochs", "reaches_in_less_time"])
def test_to_be_faster_than_a_rival_that_never_learned_decides_nothing(test):
    bodies = {("s", "tdr", seed): body() for seed in range(3)}
    constant = {"epoch": [1, 2, 3, 4], "train_seconds": [2.0, 4.0, 6.0, 8.0], "test_accuracy": [0.5] * 4}
    bodies |= {("s", "er", seed): body(curves=constant) for seed in range(3)}

    def verdict(lost, better="tdr", worse="er"):
        claim = {"test": test, "better": better, "worse": [worse], "level": 0.85}
        columns = {key: lost if key[1] == "er" else "" for key in bodies}
        places = TESTS[test](evidence(claim, bodies, lost=columns))
        sides = stats.claim_p(places)
        return stats.claim_verdict(*sides, stats.two_sided(*sides), stats.any_degenerate(places))

    assert verdict("predict one class") == "degenerate" == verdict("predict one class", "er", "tdr")
    assert verdict("") == "holds"  # slow, and sound


def test_seconds_of_runs_on_two_devices_are_not_compared():
    device = {
        ("s", method, seed): f"{method} {seed}" if seed else "cpu" for method in ("tdr", "er") for seed in range(3)
    }
    (seconds,) = speeds("reaches_in_less_time", device=device)
    assert seconds.n == 1 and seconds.p_for is None


# --- groups ----------------------------------------------------------------------------------------------------------


def test_one_group_ahead_of_another():
    claim = {"test": "group_ahead", "better": "none", "groups": [1, 0], "metric": "per_group_accuracy"}
    shares = [[0.93, 0.81], [0.92, 0.82], [0.94, 0.80]]
    bodies = {
        ("sex", "none", seed): body(metrics={"test_size": 1000, "per_group_accuracy": one, "confusion": [[1, 1]] * 2})
        for seed, one in enumerate(shares)
    }
    (found,) = curve_tests.group_ahead(evidence(claim, bodies))
    assert found.effect == pytest.approx(-0.12) and found.p_against < 0.01 and found.n == 3
    bodies["sex", "none", 3] = body(status="diverged", metrics={"per_group_accuracy": None})
    bodies["sex", "none", 4] = body(
        metrics={"test_size": 9, "per_group_accuracy": [None, 0.5], "confusion": [[1, 1]] * 2}
    )
    assert curve_tests.group_ahead(evidence(claim, bodies))[0].n == 3  # neither has a difference


def test_equal_gaps_of_groups_are_known_to_their_resolution_only():
    claim = {"test": "group_ahead", "better": "none", "groups": [0, 1], "metric": "per_group_accuracy"}
    tables_ = [[[8, 2], [0, 0]], [[7, 3], [0, 0]]]
    metrics = {
        "test_size": 20,
        "per_group_accuracy": [0.8, 0.7],
        "group_confusion": tables_,
        "confusion": [[15, 5], [0, 0]],
    }
    bodies = {("sex", "none", seed): body(metrics=metrics) for seed in range(3)}
    (found,) = curve_tests.group_ahead(evidence(claim, bodies))
    error = math.hypot(0.1, 0.1) / math.sqrt(12) / math.sqrt(3)
    assert found.statistic == pytest.approx(0.1 / error)


def test_a_mean_below_the_margin():
    claim = {"test": "below", "better": "tdr", "margin": 0.02, "metric": "equal_opportunity_gap"}
    bodies = {("sex", "tdr", seed): body() for seed in range(4)}
    gaps = {("sex", "tdr", seed): value for seed, value in enumerate([0.05, 0.07, 0.06, float("nan")])}
    (found,) = curve_tests.below(evidence(claim, bodies, equal_opportunity_gap=gaps))
    assert found.effect == pytest.approx(0.06) and found.n == 3 and found.p_against < 0.05 < found.p_for


# --- learned weights -------------------------------------------------------------------------------------------------

SIZES = [1000, 100, 10]


def by_weights(monkeypatch, test, margin, arrays):
    """The comparison of a test of weights when the runs logged `arrays`; None stands for none."""
    logged = dict(enumerate(arrays))
    monkeypatch.setattr(curve_tests, "class_weights", lambda one, root: logged[one["seed"]])
    bodies = {("s", "tdr", seed): body(seed=seed, split={"sizes": {"train": SIZES}}) for seed in logged}
    claim = {"test": test, "better": "tdr", "margin": margin, "metric": "class_weights"}
    (found,) = TESTS[test](evidence(claim, bodies))
    return found


def test_slopes_of_weights_over_size(monkeypatch):
    arrays = [np.array([[1.0, 10**slope, 10 ** (2 * slope)]]) for slope in (0.5, 0.6, 0.4)]
    less, more = (
        by_weights(monkeypatch, test, m, arrays) for test, m in (("weights_grow_less", 1.0), ("weights_grow_more", 0.0))
    )
    assert less.effect == more.effect == pytest.approx(0.5)
    assert less.p_for < 0.01 and more.p_for < 0.01
    # Two classes are no line, a run without weights has none, and one of no steps neither.
    arrays += [np.array([[0.0, 1.0, 2.0]]), None, np.empty((0, 3))]
    assert by_weights(monkeypatch, "weights_grow_less", 1.0, arrays).n == 3


def test_final_weights_near_equal(monkeypatch):
    arrays = [np.array([[0.9, 0.1, 0.0], [third + 0.01, third, third - 0.01]]) for third in (1 / 3, 2 / 3, 1.0)]
    found = by_weights(monkeypatch, "weights_near_equal", 0.05, arrays)
    assert found.effect == pytest.approx((0.01 + 0.005 + 0.01 / 3) / 3) and found.p_for < 0.01
    far = by_weights(
        monkeypatch, "weights_near_equal", 0.05, [np.array([[1.0, -0.2, 0.1 * seed]]) for seed in range(3)]
    )
    assert far.p_against < 0.01 and far.effect > 0.5


def test_weights_that_go_on_unclipped_correlate_as_they_act(monkeypatch):
    """A weight of -8 weighs nothing, as one of 0 does; and each step counts by its shares, not by its sum."""
    weights = np.array([[-8.0, 1.0, 3.0], [10.0, 0.0, 30.0]])
    monkeypatch.setattr("reweigh.scorecard.claim_tests.class_weights", lambda *_: weights)
    bodies = {("s", "tdr", seed): body(split={"sizes": {"train": [100, 50, 25]}}) for seed in range(2)}
    claim = {"test": "weights_not_inverse_frequency", "better": "tdr", "margin": 0.9, "metric": "class_weights"}
    (found,) = TESTS["weights_not_inverse_frequency"](evidence(claim, bodies))
    acting = [(0 + 0.25) / 2, (0.25 + 0) / 2, (0.75 + 0.75) / 2]
    assert found.effect == pytest.approx(np.corrcoef(acting, [1 / 100, 1 / 50, 1 / 25])[0, 1])


# --- collapses -------------------------------------------------------------------------------------------------------


def test_a_main_effect_on_collapses_counts_seeds_once():
    """All of `er` and `er_nodecay` are lost, one of `er_slow`: the rate saves 11 of 12, no decay 1 of 12."""
    methods = ("er", "er_nodecay", "er_slow", "er_ren")
    lost = {
        (setting, method, seed): "diverged" if (setting, method, seed) == ("b", "er_slow", 2) else ""
        for setting in "ab" for method in methods for seed in range(3)
    }  # fmt: skip
    lost |= {key: "predict one class" for key in lost if key[1] in ("er", "er_nodecay")}
    bodies = {key: body() for key in lost}
    rate, decay, gap = (
        curve_tests.collapses_less(evidence({"test": "collapses_less", "pairs": pairs}, bodies, lost=lost))[0]
        for pairs in (
            [["er_slow", "er"], ["er_ren", "er_nodecay"]],
            [["er_nodecay", "er"], ["er_ren", "er_slow"]],
            [["er_slow", "er_nodecay"]],
        )
    )
    assert rate.effect == pytest.approx(11 / 12) and rate.n == 3 and not rate.degenerate
    assert decay.effect == pytest.approx(1 / 12) and gap.effect == pytest.approx(rate.effect - decay.effect)
    assert rate.p_for < 0.01 < 0.1 < decay.p_for


def test_two_seeds_decide_about_no_collapse():
    """By chance both are lost under one method and not under the other in one case of eight."""
    lost = {(s, m, seed): "diverged" if m == "er" else "" for s in "abcd" for m in ("er", "tdr") for seed in range(2)}
    claim = {"test": "collapses_less", "pairs": [["tdr", "er"]]}
    (found,) = curve_tests.collapses_less(evidence(claim, {key: body() for key in lost}, lost=lost))
    assert (found.n, found.effect, found.p_for) == (2, 1.0, None)


# --- as a claim of the config ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"test": "reaches_in_fewer_epochs"}, "needs level"),
        ({"test": "greater", "level": 0.85}, "needs level"),
        ({"test": "group_ahead"}, "needs groups"),
        ({"test": "group_ahead", "groups": [1]}, "needs groups"),
        ({"test": "greater", "groups": [1, 0]}, "needs groups"),
        ({"test": "not_by_runs"}, "needs reason"),
        ({"test": "not_by_runs", "reason": " "}, "needs reason"),
        ({"test": "greater", "reason": "no runs"}, "needs reason"),
    ],
)
def test_a_test_has_what_it_needs_and_no_more(changes, word):
    known = {"id": "a", "text": "a", "source": "ours", "experiment": "e", "rule": "r", "better": "tdr", "worse": ["er"]}
    with pytest.raises(ValidationError, match=word):
        Claim(**known | changes)


def test_groups_are_compared_where_there_are_groups(tmp_path):
    from support import synthetic_records

    root = synthetic_records.project(tmp_path / "project")
    path = root / "config/papers/tdr/claims/other-data.yaml"
    text = path.read_text()
    head, claim, tail = text.partition('    id: "poor-accuracy-on-women{v[tag]}"')
    path.write_text(head + claim + tail.replace("experiment: adult", "experiment: mnist-4v9", 1))
    with pytest.raises(ConfigError, match="mnist-4v9 is not split by groups"):
        load(root)


def test_a_run_that_collapses_at_its_end_counts_at_its_best_epoch():
    """It does where it was better than any constant; the last score of the same runs is degenerate."""
    found = {"confusion": [[0, 50], [0, 50]], "test_accuracy": 0.5, "test_size": 100}
    bodies = {}
    for seed in range(3):
        curves = {"test_accuracy": [0.5, 0.9, 0.5], "train_loss": [1.0, 0.1, 0.1]}
        bodies["s", "er", seed] = body(steps=9, curves=curves, metrics=found | {"best_epoch_test_accuracy": 0.9})
        fine = {
            "confusion": [[40, 10], [10, 40]],
            "test_accuracy": 0.8,
            "test_size": 100,
            "best_epoch_test_accuracy": 0.85,
        }
        bodies["s", "tdr", seed] = body(steps=9, curves=curves, metrics=fine)
    lost = {key: "predict one class" if key[1] == "er" else "" for key in bodies}
    columns = {
        name: {key: one["metrics"][name] + 0.001 * key[2] * (key[1] == "er") for key, one in bodies.items()}
        for name in ("test_accuracy", "best_epoch_test_accuracy")
    }

    def judged(metric):
        claim = {"test": "greater", "better": "tdr", "worse": ["er"], "metric": metric}
        return TESTS["greater"](evidence(claim, bodies, lost=lost, **columns))[0]

    assert judged("test_accuracy").degenerate and judged("test_accuracy").p_for is None
    best = judged("best_epoch_test_accuracy")
    assert not best.degenerate and best.effect == pytest.approx(-0.051) and best.p_against < 0.05
    for one in bodies.values():
        one["metrics"] = one["metrics"] | {"best_epoch_test_accuracy": 0.5}
    assert judged("best_epoch_test_accuracy").degenerate  # no epoch beat a constant


def test_true_positive_rates_stand_in_the_table_of_runs(tmp_path):
    from support import synthetic_records

    root = synthetic_records.project(tmp_path / "project")
    run = "paper/tdr/adult/sex/tdr/seed0"
    tables_ = [[[90, 10], [4, 6]], [[50, 10], [4, 36]]]
    made = synthetic_records.make(root, run, group_confusion=tables_)
    row = tables.table({run: made}).iloc[0]
    assert (row["equal_opportunity_gap"], row["worst_group_tpr"]) == pytest.approx((0.3, 0.6))
    without = synthetic_records.make(root, run)
    without["metrics"].pop("group_confusion", None)
    assert math.isnan(tables.table({run: without}).iloc[0]["equal_opportunity_gap"])


def test_a_line_says_where_its_effect_is_a_bound():
    """The table of decided claims shows remarks, and not the effects at every place: the bound must stand there."""
    from reweigh.scorecard import claims, text

    config = load(ROOT)
    claim = next(one for one in config.paper("tdr").claims if one.id == "reaches-0.85-in-fewer-epochs")
    some = Evidence(config, claim, "paper", "tdr", pd.DataFrame(columns=["setting", "method", "seed", "run"]), {})
    place = curve_tests.earlier([*at(90, 95, 96), Reached(100.0, False)], at(20, 22, 24, 26), label="rho0.005")
    remarks, _ = text.remarks(claims._note(some, [place]), claim.rule)
    assert "0.85 is not always reached, so that the effect is a bound only: rho0.005 (1 of 4 ours never)" in remarks
    assert not any("bound" in one for one in claims._note(some, [curve_tests.earlier(at(9, 8), at(2, 2))]).split("; "))


def test_the_rule_owns_up_to_claims_at_the_best_epoch():
    from reweigh.scorecard.text import RULE

    config = load(ROOT)
    assert any(one.metric.startswith("best_epoch_") for one in config.paper("tdr").claims)
    assert "nothing is selected on the test set, except in claims whose metric is the best epoch" in " ".join(
        RULE.split()
    )
