"""Weights by hand, and their properties over many inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweigh.weights import clip_to_simplex, inverse_frequency, rectified_share

numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=12).map(torch.tensor)


def test_inverse_frequency_by_hand():
    torch.testing.assert_close(inverse_frequency(torch.tensor([24.0, 4975.0])), torch.tensor([4975 / 4999, 24 / 4999]))
    torch.testing.assert_close(inverse_frequency(torch.tensor([1.0, 2.0, 4.0])), torch.tensor([4 / 7, 2 / 7, 1 / 7]))


def test_two_class_hard_weights_are_the_other_class_share():
    """Ren et al.'s "proportion" baseline weighs each class by the share of the other one."""
    counts = torch.tensor([454.0, 4545.0])
    torch.testing.assert_close(inverse_frequency(counts), counts.flip(0) / counts.sum())


def test_rectified_share_by_hand():
    assert rectified_share(torch.tensor([1.0, -2.0, 3.0])).tolist() == [0.25, 0, 0.75]
    assert rectified_share(torch.tensor([-1.0, 0.0])).tolist() == [0, 0]


@given(numbers)
def test_rectified_share_sums_to_one_or_is_all_zero(scores):
    share = rectified_share(scores)
    assert (share >= 0).all() and (share[scores <= 0] == 0).all()
    assert share.sum().item() == pytest.approx(1 if (scores > 0).any() else 0, abs=1e-5)


def test_clip_to_simplex_by_hand():
    weights, collapsed = clip_to_simplex(torch.tensor([-1.0, 1.0, 3.0]), 2.0)
    assert not collapsed
    torch.testing.assert_close(weights, torch.tensor([0, 1 / 3, 2 / 3]))


@given(numbers, st.sampled_from([None, 100.0]))
def test_clip_to_simplex_lands_on_the_simplex_and_says_when_it_collapsed(weights, clip_max):
    projected, collapsed = clip_to_simplex(weights, clip_max)
    assert (projected >= 0).all() and projected.sum().item() == pytest.approx(1, abs=1e-5)
    assert collapsed == bool((weights <= 0).all())
    if collapsed:
        assert torch.equal(projected, torch.full_like(weights, 1 / len(weights)))
