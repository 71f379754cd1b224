"""How often intervals of shares are right: the simulation against the rule, and what the rule was chosen for."""

import numpy as np
import pytest

from reweigh import stats
from reweigh.scorecard import coverage


def test_the_rule_is_that_of_stats_and_wilsons_where_student_leaves() -> None:
    values = coverage.beta(0.95, 0.05, 3, draws=500)
    mean, half = values.mean(1), stats.t_quantile(2) * values.std(1, ddof=1) / np.sqrt(3)
    low, high = coverage.rule(mean, half)
    plain, wilson = coverage.cut(mean, half), coverage.everywhere(mean, half)
    leaves = (mean - half < 0) | (mean + half > 1)
    assert 0 < leaves.mean() < 1
    for ours, student, other in zip((low, high), plain, wilson, strict=True):
        assert np.allclose(ours[leaves], other[leaves]) and np.allclose(ours[~leaves], student[~leaves])


@pytest.mark.parametrize(("mean", "sd"), [(0.98, 0.02), (0.95, 0.05), (0.90, 0.10)])
def test_it_was_chosen_because_a_cut_interval_misses_the_mean_too_often(mean: float, sd: float) -> None:
    (cut, rule, logits, _), (_, width, of_logits, _) = coverage.simulate(coverage.beta(mean, sd, 3), mean)
    assert cut < 0.90 < 0.925 < rule and abs(rule - logits) < 0.015 and width < of_logits


def test_all_stay_within_0_and_1_and_agree_far_from_them() -> None:
    values = coverage.collapsing(*coverage.COLLAPSE, 4, draws=1000)
    mean, half = values.mean(1), stats.t_quantile(3) * values.std(1, ddof=1) / 2
    for kind in coverage.KINDS:
        low, high = kind(mean, half)
        assert (low >= 0).all() and (high <= 1).all() and (low <= mean).all() and (mean <= high).all()
    held, _ = coverage.simulate(coverage.beta(0.5, 0.005, 5), 0.5)
    assert max(held) - min(held) < 0.005
