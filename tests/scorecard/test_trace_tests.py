"""Claims about how much runs logged of something, on made-up traces."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support.made_up_claims import body, decided, evidence

from reweigh.config.claim import Claim
from reweigh.scorecard import readme, trace_tests

MORE = {"test": "logs_more", "better": "a", "worse": ["b"], "trace": "test_margins"}
ABOVE = {"test": "stays_above", "better": "a", "trace": "share_hard", "margin": 0.1}
LOST = "predicts one class"


def logging(monkeypatch, arrays, claim, lost=None, diverged=()):
    """`arrays`: of each method, those of its seeds; None logged nothing. Everything at one setting."""
    keys = [("s", method, seed) for method in arrays for seed in range(len(arrays[method]))]
    bodies = {
        key: body(run="/".join(map(str, key)), status="diverged" if key in diverged else "finished") for key in keys
    }

    def logged(of, *names, root):
        assert names == (claim["trace"],)
        _, method, seed = of["run"].split("/")
        known = arrays[method][int(seed)]
        return None if known is None else [np.array(known)]

    monkeypatch.setattr(trace_tests, "logged", logged)
    scored = {key: None if key in diverged else 0.5 for key in keys}
    return decided(
        evidence(claim, bodies, lost={key: LOST if key[1] == lost else "" for key in keys}, test_accuracy=scored)
    )


def test_means_are_compared_seed_by_seed(monkeypatch):
    wide, narrow = [[0.5, 0.9], [0.6, 0.8], [0.7, 0.9]], [[0.4, 0.6], [0.5, 0.6], [0.5, 0.9]]
    gains = [np.mean(one) - np.mean(other) for one, other in zip(wide, narrow, strict=True)]
    verdict, (place,) = logging(monkeypatch, {"a": wide, "b": narrow}, MORE)
    assert place.effect == pytest.approx(np.mean(gains)) and place.n == 3 and verdict == "holds"
    assert place.p_for == pytest.approx(scipy_stats.ttest_1samp(gains, 0, alternative="greater").pvalue)
    assert logging(monkeypatch, {"a": narrow, "b": wide}, MORE)[0] == "fails"
    assert logging(monkeypatch, {"a": wide, "b": narrow}, MORE | {"margin": 0.5})[0] == "fails"
    assert logging(monkeypatch, {"a": wide, "b": narrow}, MORE, lost="b")[0] == "degenerate"


def test_alone_the_mean_is_held_against_the_margin(monkeypatch):
    claim = MORE | {"worse": [], "margin": 0.01, "trace": "weight_sd"}
    moved, still = [[0.0, 0.1], [0.02, 0.1], [0.01, 0.1]], [[0.0, 0.001]] * 3
    verdict, (place,) = logging(monkeypatch, {"a": moved}, claim)
    assert place.effect == pytest.approx(np.mean(moved)) and verdict == "holds"
    assert logging(monkeypatch, {"a": still}, claim)[0] == "fails"


def test_always_is_by_the_least_of_each_run(monkeypatch):
    always = [[0.3, 0.15], [0.2, 0.14], [0.5, 0.16]]
    verdict, (place,) = logging(monkeypatch, {"a": always}, ABOVE)
    assert place.effect == pytest.approx(0.15) and place.n == 3 and verdict == "holds"
    mostly = [[0.3, 0.3, 0.02], [0.3, 0.3, 0.01], [0.3, 0.3, 0.03]]  # 0.2 on average
    assert logging(monkeypatch, {"a": mostly}, ABOVE)[0] == "fails"
    assert logging(monkeypatch, {"a": mostly}, ABOVE | {"test": "logs_more"})[0] == "holds"


def test_what_is_zero_in_every_run_is_below_the_margin(monkeypatch):
    """All runs agree, and 0 has no size of its own: the margin's is what a difference is held against."""
    verdict, (place,) = logging(monkeypatch, {"a": [[0.0, 0.4], [0.0, 0.2], [0.3, 0.0]]}, ABOVE)
    assert (place.effect, place.n, verdict) == (0, 3, "fails")


def test_what_logged_nothing_or_diverged_does_not_count(monkeypatch):
    arrays = {"a": [[0.5], None, [0.6], [0.7], []], "b": [[0.1], [0.1], [0.1], [0.1], [0.1]]}
    _, (place,) = logging(monkeypatch, arrays, MORE, diverged=[("s", "b", 3)])
    assert place.n == 2 and place.effect == pytest.approx(0.45)
    _, (place,) = logging(monkeypatch, {"a": [None] * 3}, ABOVE)
    assert (place.n, place.p_for) == (0, None)


CELLS = {
    "test": "cell_above",
    "better": "a",
    "worse": [],
    "trace": "strengths",
    "cells": ["noisy_rare", "clean_common"],
}
SPLIT = {"kind": "step", "imbalance_ratio": 10, "noise": {"groups": [[0, 1]]}, "rare": [0]}


def of_cells(monkeypatch, split, strengths, margin=0.0):
    """A claim on the last row of `strengths` of each seed, in runs on `split`."""
    monkeypatch.setattr(trace_tests, "logged", lambda of, *names, root: [np.array(strengths[of["seed"]])])
    bodies = {("s", "a", seed): body(seed=seed, spec={"data": {"split": split}}) for seed in range(len(strengths))}
    claim = CELLS | {"margin": margin}
    return decided(evidence(claim, bodies, test_accuracy=dict.fromkeys(bodies, 0.5)))


def test_cells_are_compared_by_the_means_of_what_was_logged_last(monkeypatch):
    """Classes 0 noisy and rare, 1 noisy, 2 and 3 neither."""
    strengths = [
        [[0.0] * 4, [1.0, 0.9, 0.2, 0.4]],
        [[0.0] * 4, [1.0, 0.9, 0.1, 0.2]],
        [[9.0] * 4, [0.8, 0.1, 0.2, 0.4]],
    ]
    verdict, (place,) = of_cells(monkeypatch, SPLIT, strengths)
    assert place.effect == pytest.approx(np.mean([1.0 - 0.3, 1.0 - 0.15, 0.8 - 0.3])) and place.n == 3
    assert verdict == "holds"
    assert of_cells(monkeypatch, SPLIT, strengths, margin=0.8)[0] != "holds"
    down = [[[0.1, 0.9, 0.5, 0.5]], [[0.2, 0.9, 0.5, 0.6]], [[0.0, 0.9, 0.5, 0.4]]]
    assert of_cells(monkeypatch, SPLIT, down)[0] == "fails"


def test_a_split_without_one_of_the_cells_compares_nothing(monkeypatch):
    _, (place,) = of_cells(monkeypatch, {**SPLIT, "rare": [2]}, [[[1.0, 0.9, 0.2, 0.4]]] * 3)
    assert place.n == 0


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (MORE | {"trace": None}, "needs trace"),
        (ABOVE | {"trace": None}, "needs trace"),
        (ABOVE | {"worse": ["b"]}, "stays_above speaks of better alone"),
    ],
)
def test_a_claim_that_asks_for_what_there_is_not_is_refused(claim, says):
    with pytest.raises(ValidationError, match=says):
        Claim(id="a", text="a", source="ours", experiment="e", rule="r", **claim)


def test_what_is_logged_is_shown_in_its_own_unit():
    assert readme._effect("logs_more", 0.243, None, float("nan")) == "0.243"
    assert readme._effect("logs_more", -2.46e-9, 2.46e-9) == "0 to 0"
    assert readme._effect("greater", -0.0123, 0.001) == "-1.2 to +0.1 points"
