"""The registry of metrics: all that is printed is known, and what is judged how."""

import csv
import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from support.project import ROOT

from reweigh import metrics
from reweigh.analysis import tables
from reweigh.analysis.resolution import resolution
from reweigh.errors import ConfigError

# What the five papers print, by the name in their files of numbers: direction, and the tolerance of a typical number.
PRINTED = {
    "test_accuracy": (1, 0.8, 0.01),
    "minority_recall": (1, 0.855, 0.01),
    "top1_test_accuracy_pct": (1, 0.7, 0.01),
    "top1_acc_pct": (1, 0.75, 0.01),
    "top5_acc_pct": (1, 0.9, 0.01),
    "balanced_error_pct": (-1, 0.3, 0.01),
    "group_balanced_error_pct": (-1, 0.23, 0.01),
    "worst_class_group_error_pct": (-1, 0.43, 0.01),
    "deo_error_pct": (-1, 0.34, 0.04),
    "acc_gain_pct": (1, 0.008, 0.01),
    "relative_gain_pct": (1, 0.016, 0.01),
    "relative_gain_pct_lower_bound": (1, 0.025, 0.01),
    "runtime_ratio": (-1, 1.6, 0.16),
    "flops_ratio": (-1, 1.7, 0.17),
    "runtime_multiple_low": (-1, 4.0, 0.4),
    "runtime_multiple_high": (-1, 5.0, 0.5),
    "runtime_multiple_lower_bound": (-1, 2.0, 0.2),
}


@pytest.mark.parametrize("name", PRINTED)
def test_all_that_papers_print_is_known(name):
    metric, divisor = metrics.printed(name)
    direction, typical, tolerance = PRINTED[name]
    assert metric.direction == direction and divisor == (100 if "_pct" in name else 1)
    assert metric.tolerance_of(typical) == pytest.approx(tolerance)
    assert not metric.cannot_be(typical)


def test_the_files_of_published_numbers_name_no_other():
    names = {row["metric"] for path in (ROOT / "data/published").glob("*.csv") for row in csv.DictReader(path.open())}
    assert names <= set(PRINTED)


def test_every_number_that_a_table_of_runs_has_is_known():
    assert set(tables.METRICS) == {name for name, one in metrics.METRICS.items() if one.recorded == "metrics"}
    assert set(tables.COSTS) <= {name for name, one in metrics.METRICS.items() if one.recorded == "costs"}


def test_what_follows_from_a_record_is_no_part_of_it_and_claims_may_speak_of_it():
    assert set(metrics.DERIVED) <= set(metrics.RECORDED)
    body = {"status": "finished", "metrics": {"balanced_accuracy": 0.7, "test_accuracy": 0.8}}
    found = metrics.of_record(body)
    assert found["test_accuracy"] == 0.8 and found["balanced_error"] == pytest.approx(0.3)
    assert found["deo_error"] is None and found["equal_opportunity_gap"] is None  # it has no counts by group
    assert metrics.of_record(body | {"status": "diverged"}) == {}
    assert metrics.of_record(body | {"metrics": {}})["balanced_error"] is None


def test_an_unknown_metric_is_refused_with_the_nearest_word():
    with pytest.raises(
        ConfigError, match=r"^x\.csv:3: unknown metric 'balanced_eror_pct'; did you mean 'balanced_error_pct'"
    ):
        metrics.printed("balanced_eror_pct", "x.csv:3")
    with pytest.raises(ConfigError, match="unknown metric 'test_acuracy'; did you mean 'test_accuracy'"):
        metrics.of("test_acuracy")
    with pytest.raises(ConfigError, match="unknown metric 'runtime_ratio_pct'"):  # only fractions are given in per cent
        metrics.printed("runtime_ratio_pct")


def test_a_tolerance_is_the_metrics_own_or_the_printed_sd():
    accuracy, seconds, gap = map(metrics.of, ("test_accuracy", "seconds", "equal_opportunity_gap"))
    assert [accuracy.tolerance_of(0.9, sd) for sd in (None, float("nan"), 0.0, 0.03)] == [0.01, 0.01, 0.01, 0.03]
    assert (seconds.tolerance_of(100.0), seconds.tolerance_of(100.0, 40.0)) == (25.0, 40.0)
    assert (gap.tolerance_of(0.2), gap.absolute, gap.direction) == (0.02, True, -1)


def test_what_a_value_cannot_be():
    assert metrics.of("test_accuracy").cannot_be(79.06) == "a test accuracy lies between 0 and 1"
    assert metrics.of("runtime_ratio").cannot_be(-1.0).endswith("is a number from 0 on")
    assert metrics.of("acc_gain").cannot_be(-0.2) == ""
    assert metrics.of("test_accuracy").cannot_be(float("nan")) and metrics.of("seconds").cannot_be(float("inf"))


def test_an_error_is_not_judged_like_an_accuracy():
    accuracy, error = metrics.of("balanced_accuracy"), metrics.of("balanced_error")
    assert accuracy.like(metrics.of("top1_acc")) and not accuracy.like(error)
    assert not metrics.of("runtime_ratio").like(metrics.of("runtime_multiple_lower_bound"))
    assert not accuracy.like(replace(accuracy, tolerance=0.02))


def test_the_examples_hold():
    assert doctest.testmod(metrics).failed == 0


# --- the tail --------------------------------------------------------------------------------------------------------


def test_the_rare_half_is_that_of_the_training_set():
    body = {
        "status": "finished",
        "split": {"sizes": {"train": [500, 40, 100, 20, 300]}},
        "metrics": {"per_class_accuracy": [0.9, 0.4, 0.7, 0.1, 0.8], "confusion": (np.eye(5, dtype=int) * 50).tolist()},
    }
    assert metrics.rare_half(body) == [1, 3]
    assert metrics.DERIVED["tail_recall"](body) == pytest.approx(0.25)
    body["metrics"]["confusion"][3][3] = 10
    assert resolution(body, "tail_recall") == pytest.approx(math.hypot(1 / 50, 1 / 10) / 2)
    body["metrics"]["per_class_accuracy"][3] = None  # not in the test set
    assert metrics.DERIVED["tail_recall"](body) is None
    body["split"]["sizes"]["train"] = [100] * 5
    assert metrics.rare_half(body) == [] and metrics.DERIVED["tail_recall"](body) is None
