"""Means of runs that are computed again: what `stats` says, by another way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reweigh import metrics, stats
from reweigh.provenance import recompute_means

VALUES = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=0, max_size=8)


@given(VALUES, st.sampled_from(["test_accuracy", "deo_error", "test_accuracy_difference"]))
def test_both_ways_say_the_same(values: list[float], metric: str) -> None:
    stated = stats.summarise(values, *metrics.ends(metric))
    again = recompute_means.summary(values, metric)
    assert again["n"] == stated.n
    for name in ("mean", "sd", "low", "high"):
        assert again[name] == pytest.approx(getattr(stated, name), abs=1e-7), name


def test_a_difference_may_go_beyond_what_a_share_can_be() -> None:
    assert recompute_means.summary([0.5, -0.9, 0.1], "test_accuracy_difference")["low"] < -1
    assert recompute_means.summary([0.9, 0.99, 0.8], "test_accuracy")["high"] < 1
