"""Intervals of claims are cut at what is possible; p values, and with them verdicts, are not touched."""

import math
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from reweigh import stats
from reweigh.config.claim import Claim
from reweigh.scorecard import curve_tests
from reweigh.scorecard.claim_tests import TESTS, compared
from reweigh.scorecard.evidence import Evidence
from reweigh.scorecard.possible import cut, possible
from reweigh.scorecard.text import TEST_NAMES

WHOLE, ANY = (-1.0, 1.0), (-math.inf, math.inf)
RANGES = {
    "greater": WHOLE,
    "greater_on_average": WHOLE,
    "within": WHOLE,
    "grows": (-2.0, 2.0),
    "gains_more": (-2.0, 2.0),
    "explained_by": WHOLE,
    "group_ahead": WHOLE,
    "below": (0.0, 1.0),
    "separates_better": WHOLE,
    "collapses_less": WHOLE,
    "weights_not_inverse_frequency": WHOLE,
    "weights_near_equal": (0.0, 0.5),
    "minority_weighs_more": (0.0, math.inf),
    "smaller_spread": ANY,
    "costs_more": ANY,
    "costs_at_most": ANY,
    "reaches_in_fewer_epochs": ANY,
    "reaches_in_less_time": ANY,
    "weights_grow_more": ANY,
    "weights_grow_less": ANY,
    "ordered": WHOLE,
    "dominates": WHOLE,
    "follows_frequency": WHOLE,
    "varies_less": ANY,
    "reaches": (-0.15, 0.85),
    "tracks_test": WHOLE,
    "logs_more": ANY,
    "stays_above": ANY,
    "cell_above": ANY,
}
SETTINGS = ("rho0.1", "rho0.05", "rho0.02", "rho0.005")


def evidence(config: Any, test: str, rows: list[dict[str, Any]], classes: int = 2, **changes: Any) -> Evidence:
    """Runs that logged weights of so many classes; a claim with whatever its test must have."""
    needs = {
        "explained_by": {"by": "hard", "margin": 0.5},
        "gains_more": {"better": None, "worse": [], "pairs": [["tdr", "er"], ["hard", "none"]]},
        "group_ahead": {"groups": [1, 0]},
        "reaches_in_fewer_epochs": {"level": 0.85},
        "reaches_in_less_time": {"level": 0.85},
        "ordered": {"order": "methods", "worse": ["er", "none"]},
        "dominates": {"second_metric": "minority_recall"},
        "follows_frequency": {"trace": "class_weights", "margin": 0.5},
        "varies_less": {"trace": "class_weights"},
        "reaches": {"part": "train", "level": 0.85, "margin": 0.01, "worse": []},
        "tracks_test": {"part": "validation", "worse": []},
        "logs_more": {"trace": "class_weights"},
        "stays_above": {"trace": "class_weights", "worse": []},
        "cell_above": {"trace": "strengths", "worse": [], "cells": ["noisy_rare", "clean_common"]},
    }
    stated = {"id": "made-up", "text": "", "source": "ours", "experiment": "mnist-4v9", "rule": "", "test": test,
              "better": "tdr", "worse": ["er"]}  # fmt: skip
    claim = Claim(**{**stated, **needs.get(test, {}), **changes})
    frame = pd.DataFrame(rows, columns=["run", "setting", "method", "seed", "lost", "status", "test_accuracy"])
    shapes = {"trace": {"arrays": {"class_weights": [300, classes]}}}
    split = {"sizes": {"train": [100] * classes}}
    records = {run: {"status": "finished", "run": run, "split": split, **shapes} for run in frame["run"]}
    return Evidence(config, claim, "paper", "tdr", frame, records)


def runs(method: str, lost: str = "") -> list[dict[str, Any]]:
    return [
        {"run": f"paper/tdr/mnist-4v9/{setting}/{method}/seed{seed}", "setting": setting, "method": method,
         "seed": seed, "lost": lost, "status": "finished", "test_accuracy": 0.5}
        for setting in SETTINGS for seed in range(5)
    ]  # fmt: skip


@pytest.mark.parametrize("test", RANGES)
def test_every_test_has_its_range(config: Any, test: str) -> None:
    assert possible(evidence(config, test, runs("tdr"))) == pytest.approx(RANGES[test])


def test_no_test_is_forgotten() -> None:
    declared = set(get_args(Claim.model_fields["test"].annotation))
    assert set(RANGES) == set(TESTS) == declared - {"not_by_runs"}
    assert set(TEST_NAMES) == declared


@pytest.mark.parametrize(("classes", "most"), [(2, 0.5), (10, 0.9)])
def test_the_largest_distance_from_equal_weights_is_that_of_one_class_with_all(
    config: Any, classes: int, most: float
) -> None:
    assert possible(evidence(config, "weights_near_equal", runs("tdr"), classes))[1] == pytest.approx(most)


def test_of_a_metric_without_an_end_nothing_is_cut(config: Any) -> None:
    assert possible(evidence(config, "greater", [], metric="seconds")) == ANY
    assert possible(evidence(config, "below", [], metric="seconds")) == (0.0, math.inf)


def test_shares_of_collapsed_runs_differ_by_a_hundred_points_at_most(config: Any) -> None:
    """Every run of one method collapses, but for one, and none of the other."""
    lost = [{**row, "lost": "" if row["run"].endswith("rho0.1/er/seed0") else "diverged"} for row in runs("er", "lost")]
    part = evidence(config, "collapses_less", runs("tdr") + lost, better=None, worse=[], pairs=[["tdr", "er"]])
    (raw,), (shown,) = TESTS["collapses_less"](part), compared(part)
    assert raw.high > 1 > raw.low and (shown.low, shown.high) == (raw.low, 1.0)
    assert (shown.p_for, shown.p_against, shown.statistic, shown.effect) == (
        raw.p_for,
        raw.p_against,
        raw.statistic,
        raw.effect,
    )


def test_final_weights_of_two_classes_lie_half_from_half_at_most(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = {f"{setting}/tdr/seed{seed}": (1.0, 0.02 * (seed == 4)) for setting in SETTINGS for seed in range(5)}
    monkeypatch.setattr(
        curve_tests, "class_weights", lambda body, _: np.array([logged[body["run"].split("mnist-4v9/")[1]]])
    )
    part = evidence(config, "weights_near_equal", runs("tdr"), worse=[], margin=0.05, metric="class_weights")
    raw, shown = TESTS["weights_near_equal"](part), compared(part)
    assert all(place.high > 0.5 for place in raw) and [place.high for place in shown] == [0.5] * 4
    assert [place.p_against for place in shown] == [place.p_against for place in raw]


def test_without_an_interval_there_is_nothing_to_cut() -> None:
    assert cut(stats.untested("a place", 1, 0.3), 0.0, 1.0) == stats.untested("a place", 1, 0.3)
