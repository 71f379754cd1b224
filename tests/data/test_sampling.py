"""Samplings: what an epoch consists of, for any labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reweigh.data import sampling
from reweigh.errors import ConfigError
from reweigh.streams import rng

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(lambda values: np.array(values, np.int64))


@given(LABELS, st.integers(0, 2**32))
def test_a_uniform_epoch_has_every_example_once(labels, seed):
    order = sampling.order("uniform", labels, rng(seed, "test"))
    assert sorted(order) == list(range(len(labels))) and len(order) == sampling.epoch_size("uniform", labels)


@given(LABELS, st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_class_aware_epoch_takes_from_every_class_equally(labels, seed):
    order = sampling.order("class-aware", labels, rng(seed, "test"))
    present, counts = np.unique(labels, return_counts=True)
    assert len(order) == counts.max() * len(present) == sampling.epoch_size("class-aware", labels)
    drawn = np.bincount(labels[order], minlength=6)[present]
    assert drawn.max() - drawn.min() <= sampling.AT_ONCE  # the last turn may be cut
    for value, size in zip(present, counts, strict=True):  # within a class no example is ahead of another by two
        times = np.bincount(order[labels[order] == value], minlength=len(labels))[labels == value]
        assert len(times) == size and times.max() - times.min() <= 1


def test_a_class_gives_four_examples_when_it_is_its_turn():
    labels = np.repeat(np.arange(3), (40, 8, 4))
    turns = labels[sampling.order("class-aware", labels, rng(0, "test"))].reshape(-1, 4)
    assert (turns == turns[:, :1]).all() and len(turns) == 30
    assert all(set(three) == {0, 1, 2} for three in turns[:, 0].reshape(-1, 3))


def test_effective_numbers_draw_each_class_by_its_weight():
    labels = np.repeat(np.arange(2), (5000, 50))
    drawn = np.concatenate([sampling.order("effective-number", labels, rng(seed, "test")) for seed in range(20)])
    assert len(drawn) == 20 * len(labels)
    effective = (1 - 0.9999 ** np.array([5000, 50])) / (1 - 0.9999)
    share = (50 / effective[1]) / (50 / effective[1] + 5000 / effective[0])
    found = np.mean(labels[drawn] == 1)
    assert abs(found - share) < 5 * np.sqrt(share * (1 - share) / len(drawn))


def test_an_unknown_sampling_is_refused_by_name():
    with pytest.raises(ConfigError, match="no sampling 'fair'; use one of: uniform, effective-number, class-aware"):
        sampling.epoch_size("fair", np.zeros(3, np.int64))
