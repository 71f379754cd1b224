"""The rule for published numbers: by hand, by its properties, and for metrics of which less is better."""

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reweigh import metrics, stats, verdicts
from reweigh.verdicts import verdict

ACCURACY, ERROR = metrics.of("test_accuracy"), metrics.of("balanced_error")
UNBOUNDED = replace(ACCURACY, low=-math.inf, high=math.inf)  # its intervals are Student's wherever they end
FRACTIONS = st.floats(0, 1).map(lambda value: round(value, 4))
SAMPLES = st.lists(FRACTIONS, min_size=2, max_size=8)
SDS = st.one_of(st.none(), st.floats(0, 0.2))
NO_NUMBERS = st.lists(st.sampled_from([None, float("nan")]), max_size=3)
MIRROR = {"better": "worse", "worse": "better"}


@pytest.mark.parametrize(
    ("published", "sd", "values", "expected"),
    [
        (0.900, None, [0.901, 0.902, 0.903], "replicated"),
        (0.900, None, [0.880, 0.881, 0.882], "worse"),
        (0.900, None, [0.920, 0.921, 0.922], "better"),
        (0.900, None, [0.890, 0.900, 0.910], "replicated"),  # sd 0.01, τ 0.01: the 90 % interval is ± 0.017
        (0.900, None, [0.915, 0.915, 0.9151], "better"),  # narrow and beyond τ: better comes first
        (0.900, None, [0.85, 0.90, 0.95], "inconclusive"),  # the 90 % interval is about ± 0.084, 2τ is 0.02
        (0.900, 0.150, [0.85, 0.90, 0.95], "replicated"),  # τ = 0.15: the paper's own number is no sharper
        (0.900, None, [0.901], "inconclusive"),
        (0.900, None, [], "not run"),
        (None, None, [0.9, 0.9], "not reported"),
        (None, None, [], "not reported"),
        (0.500, None, [0.5, 0.5, 0.5], "replicated"),
        (0.500, None, [0.75, 0.80, 0.85], "better"),  # wide, and still wholly beyond 0.5 ± 0.01
        (
            0.500,
            None,
            [0.75, 0.85, 0.95],
            "inconclusive",
        ),  # Student's 0.60 to 1.10 leaves 0 to 1; Wilson's 0.50 to 0.97
        (0.995, None, [0.75, 0.85, 0.95], "worse"),  # and so its end is below 0.985
    ],
)
def test_verdicts_by_hand(published, sd, values, expected):
    assert verdict(published, sd, values, ACCURACY) == expected


@given(FRACTIONS, SDS, SAMPLES)
def test_verdicts_follow_the_declared_rule(published, sd, values):
    """By scipy: 95 % intervals beyond p ± τ, else two one-sided t tests at 5 % of |mean - p| below 2τ."""
    found, tau = verdict(published, sd, values, UNBOUNDED), max(0.01, sd or 0)
    error = scipy_stats.sem(values)
    if error < 1e-9:
        return
    low, high = scipy_stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
    if found in MIRROR:
        assert (found == "better") == (low > published + tau) and (found == "worse") == (high < published - tau)
        return
    assert low <= published + tau and high >= published - tau
    above = scipy_stats.ttest_1samp(values, published - 2 * tau, alternative="greater").pvalue
    below = scipy_stats.ttest_1samp(values, published + 2 * tau, alternative="less").pvalue
    if abs(max(above, below) - 0.05) > 1e-9:
        assert (found == "replicated") == (max(above, below) < 0.05)


@given(FRACTIONS, SDS, SAMPLES)
def test_an_error_is_one_minus_an_accuracy(published, sd, values):
    """Lower is better: .20 against a published .30 is better, by the same verdict as .80 against .70."""
    tau = max(0.01, sd or 0)
    wide, narrow = (verdicts.interval(values, 0.0, level, 0.0, 1.0) for level in (0.95, 0.9))
    edges = [abs(abs(end - published) - reach) for ends, reach in ((wide, tau), (narrow, 2 * tau)) for end in ends]
    if min(edges) < 1e-9:
        return  # rounding decides
    accuracies = [1 - value for value in values]
    assert verdict(published, sd, values, ERROR) == verdict(1 - published, sd, accuracies, ACCURACY)


def test_an_error_below_the_published_one_is_better():
    assert verdict(0.30, None, [0.20, 0.21, 0.20], ERROR) == "better"
    assert verdict(0.30, None, [0.40, 0.41, 0.40], ERROR) == "worse"


@given(FRACTIONS, SAMPLES)
def test_better_and_worse_are_mirror_images(published, values):
    found = verdict(published, None, values, UNBOUNDED)
    flipped = verdict(-published, None, [-value for value in values], UNBOUNDED)
    assert flipped == MIRROR.get(found, found)


@given(FRACTIONS, SDS, SAMPLES, NO_NUMBERS, st.randoms())
def test_nan_and_none_are_no_numbers(published, sd, values, others, random):
    mixed = [*values, *others]
    random.shuffle(mixed)
    assert verdict(published, sd, mixed, ACCURACY) == verdict(published, sd, sorted(values), ACCURACY)
    assert verdict(published, sd, others, ACCURACY) == "not run"
    assert verdict(float("nan"), sd, values, ACCURACY) == verdict(None, sd, values, ACCURACY) == "not reported"
    assert verdict(published, float("nan"), values, ACCURACY) == verdict(published, None, values, ACCURACY)


@pytest.mark.parametrize("lost", [[float("nan")] * 3, [None] * 3, [0.9, float("nan"), None]])
def test_runs_without_a_score_replicate_nothing(lost):
    assert verdict(0.9, None, lost, ACCURACY) in ("not run", "inconclusive")


def test_equal_values_are_no_certainty():
    """Three runs that agree on 50 test examples: the interval is that of steps of 1/50, far wider than a point."""
    steps = stats.least_sd(1 / 50)
    assert verdict(0.90, None, [0.92, 0.92, 0.92], ACCURACY) == "better"
    assert verdict(0.90, None, [0.92, 0.92, 0.92], ACCURACY, steps) == "inconclusive"
    low, high = verdicts.interval([0.92, 0.92, 0.92], steps)
    assert high - low > 0.01 and verdicts.interval([0.9, 0.95], 0.001) == verdicts.interval([0.9, 0.95])


def test_a_gap_counts_by_its_absolute_value_and_its_own_tolerance():
    gap = metrics.of("deo_error")
    assert verdict(0.30, None, [-0.20, 0.21, -0.20], gap) == "better"
    assert verdict(0.30, None, [0.32, 0.33, 0.31], gap) == "replicated"  # τ is 4 points: a point means nothing here
    assert verdict(0.30, None, [0.42, 0.43, 0.41], gap) == "worse"


def test_what_lies_above_a_lower_bound_replicates_it():
    more, less = metrics.of("relative_gain_lower_bound"), metrics.of("runtime_multiple_lower_bound")
    assert verdict(0.025, None, [0.20, 0.21, 0.20], more) == "replicated"
    assert verdict(0.025, None, [-0.10, -0.11, -0.10], more) == "worse"
    assert verdict(2.0, None, [4.0, 4.1, 4.2], less) == "replicated"
    assert verdict(2.0, None, [1.1, 1.2, 1.1], less) == "better"  # cheaper than the paper says at least
    high = metrics.of("runtime_multiple_high")
    assert [verdict(5.0, None, [x, x + 0.1, x + 0.1], high) for x in (3.0, 5.0, 9.0)] == [
        "replicated", "replicated", "worse",
    ]  # fmt: skip


def test_run_times_have_a_relative_tolerance():
    seconds = metrics.of("seconds")
    assert verdict(100.0, None, [110.0, 112.0, 111.0], seconds) == "replicated"
    assert verdict(100.0, None, [50.0, 51.0, 50.0], seconds) == "better"
    assert verdict(0.100, None, [0.200, 0.201, 0.199], seconds) == "worse"


def test_nothing_is_judged_by_a_metric_without_a_direction():
    assert verdict(100.0, None, [1.0, 2.0], metrics.of("steps")) == "not judged"
    assert verdict(0.9, None, [0.1, 0.2], replace(ACCURACY, direction=0)) == "not judged"


def test_the_examples_hold():
    assert doctest.testmod(verdicts).failed == 0
