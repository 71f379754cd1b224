"""Metrics against a hand-computed example."""

import numpy as np
import pytest
import torch
from support import capture

from reweigh.data.arrays import Part
from reweigh.data.batches import DevicePart
from reweigh.evaluate import BATCH_SIZES, confusion, count_predictions, metrics

# 5 of label 0 (3 found), 10 of label 1 (9 found): recall .6, precision 3/4.
COUNTS = np.array([[[3, 2], [0, 0]], [[0, 0], [1, 9]]])


def test_two_classes_by_hand():
    found = metrics(COUNTS, two_class=True, group_is_label=True)
    assert found["test_accuracy"] == pytest.approx(12 / 15) and found["test_size"] == 15
    assert found["per_class_accuracy"] == pytest.approx([0.6, 0.9])
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert (found["minority_recall"], found["minority_precision"]) == pytest.approx((0.6, 0.75))
    assert found["per_group_accuracy"] is None and found["confusion"] == [[3, 2], [1, 9]]
    assert "group_confusion" not in found


def test_groups_by_hand():
    women, men = [[4, 0], [1, 1]], [[2, 2], [0, 6]]
    found = metrics(np.array([women, men]), two_class=False, group_is_label=False)
    assert found["per_group_accuracy"] == pytest.approx([5 / 6, 8 / 10])
    assert found["minority_recall"] is None and found["minority_precision"] is None
    assert found["test_accuracy"] == pytest.approx(13 / 16)
    assert found["group_confusion"] == [women, men] and found["confusion"] == [[6, 2], [1, 7]]


def test_nothing_predicted_as_minority_has_no_precision():
    found = metrics(np.array([[[0, 5], [0, 0]], [[0, 0], [0, 10]]]), two_class=True, group_is_label=True)
    assert found["minority_recall"] == 0 and found["minority_precision"] is None


def part_of(logits, labels, groups):
    rows = np.arange(len(logits))
    return DevicePart(logits.astype(np.float32), Part(rows, labels, groups), "none", torch.device("cpu"))


def same(inputs):
    """A model whose logits are its inputs."""
    return inputs


def drawn(seed=0, count=1234):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)), rng.integers(0, 3, count), rng.integers(0, 2, count)


@pytest.mark.parametrize("batch_size", [100, None])
def test_confusion_counts_every_example_once(batch_size):
    logits, labels, groups = drawn()
    counts = confusion(same, part_of(logits, labels, groups), classes=3, groups=2, batch_size=batch_size)
    expected = np.zeros((2, 3, 4), int)
    for group, label, predicted in zip(groups, labels, logits.argmax(1), strict=True):
        expected[group, label, predicted] += 1
    assert (counts == expected).all() and counts.sum() == 1234


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_example_whose_logits_are_not_finite_has_no_prediction_and_is_wrong(value):
    logits, labels, groups = drawn()
    labels[:200], logits[:200] = 0, (9.0, 0.0, 0.0)  # all of them right
    logits[:100, 2] = value
    counts = confusion(same, part_of(logits, labels, groups), classes=3, groups=2)
    assert counts[:, :, 3].sum() == 100
    found = metrics(counts, two_class=False, group_is_label=False)
    right = (logits[100:].argmax(1) == labels[100:]).sum()
    assert found["test_accuracy"] == right / 1234 and found["test_size"] == 1234
    assert np.sum(found["confusion"]) == 1134 and np.shape(found["confusion"]) == (3, 3)


def test_a_model_that_diverged_is_right_about_nothing():
    logits, labels, groups = drawn()
    counts = confusion(lambda inputs: inputs * np.nan, part_of(logits, labels, groups), classes=3, groups=2)
    found = metrics(counts, two_class=True, group_is_label=False)
    assert found["test_accuracy"] == found["minority_recall"] == found["balanced_accuracy"] == 0
    assert found["minority_precision"] is None and found["per_group_accuracy"] == [0, 0]
    assert not np.any(found["confusion"]) and found["test_size"] == 1234


def test_counting_waits_for_no_value():
    part = part_of(*drawn())
    with capture.Recording() as recording:
        counts = count_predictions(same, part, classes=3, groups=2)
    assert counts.sum() == 1234
    used = {function.overloadpacket.__name__ for function, *_ in recording.operations}
    assert "argmax" in used and not {"bincount", "_to_copy"} & used  # on a GPU both wait


def test_batches_are_large_on_a_gpu_and_as_they_were_on_a_cpu():
    part, sizes = part_of(*drawn(count=4321)), []
    confusion(lambda inputs: sizes.append(len(inputs)) or inputs, part, classes=3, groups=2)
    assert sizes == [500] * 8 + [321] and BATCH_SIZES["cuda"] == 2000
