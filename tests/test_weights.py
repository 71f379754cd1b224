"""Weights by hand, and their properties over many inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweigh.losses.ldam import margins
from reweigh.weights import clip_to_simplex, effective_number, equal, inverse_frequency, rectified_share

numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=12).map(torch.tensor)
class_sizes = (
    st.lists(st.integers(0, 5000), min_size=1, max_size=12).filter(any).map(lambda sizes: torch.tensor(sizes).float())
)
OF_CLASSES = {
    "inverse frequency": inverse_frequency,
    "effective number": lambda counts: effective_number(counts, 0.9999),
    "effective number of 1": lambda counts: effective_number(counts, 0.0),
    "margins": lambda counts: margins(counts, 0.5),
    "equal": equal,
}


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


# classes without examples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_CLASSES)
@given(class_sizes)
def test_an_empty_class_weighs_nothing_and_changes_no_other(name, counts):
    there = counts > 0
    weights = OF_CLASSES[name](counts)
    assert weights.dtype == counts.dtype and (weights[~there] == 0).all()
    torch.testing.assert_close(weights[there], OF_CLASSES[name](counts[there]))


@given(class_sizes, st.sampled_from([0.0, 0.9, 0.9999]))
def test_effective_number_weights_sum_to_the_classes_that_exist(counts, beta):
    assert effective_number(counts, beta).sum().item() == pytest.approx(int((counts > 0).sum()), rel=1e-5)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12))
def test_weights_of_full_classes_are_bit_for_bit_those_of_the_plain_formulas(sizes):
    counts = torch.tensor(sizes).float()
    inverse, effective = 1.0 / counts, (1 - 0.9999) / (1 - 0.9999 ** counts.double())
    raw = counts.double() ** -0.25
    assert torch.equal(inverse_frequency(counts), inverse / inverse.sum())
    assert torch.equal(effective_number(counts, 0.9999), (effective / effective.sum() * len(sizes)).float())
    assert torch.equal(margins(counts, 0.5), (0.5 * raw / raw.max()).float())
    assert torch.equal(equal(counts), torch.full_like(counts, 1 / len(sizes)))


# what is not a number -------------------------------------------------------------------------------------------------


@given(numbers, st.data(), st.sampled_from([None, 100.0]))
def test_what_is_not_a_number_is_handed_on_and_no_collapse(scores, data, clip_max):
    scores[data.draw(st.integers(0, len(scores) - 1))] = torch.nan
    weights, collapsed = clip_to_simplex(scores, clip_max)
    assert not collapsed and weights.isnan().all()
    assert clip_to_simplex(scores, clip_max, equal(torch.ones_like(scores)))[0].isnan().all()
    assert rectified_share(scores).isnan().all()


@given(numbers, st.data(), st.sampled_from([None, 100.0]), st.sampled_from([torch.inf, -torch.inf]))
def test_nor_does_a_clip_hide_what_is_infinite(scores, data, clip_max, value):
    scores[data.draw(st.integers(0, len(scores) - 1))] = value
    weights, collapsed = clip_to_simplex(scores, clip_max)
    assert not collapsed and weights.isnan().all() and rectified_share(scores).isnan().all()


def test_collapsed_weights_go_back_to_the_start_given():
    start = torch.tensor([0.5, 0.0, 0.5])
    weights, collapsed = clip_to_simplex(torch.tensor([-1.0, 0.0, -2.0]), 100.0, start)
    assert collapsed and torch.equal(weights, start)
