"""Metrics against a hand-computed example."""

import numpy as np
import pytest
import torch

from reweigh.data.arrays import Part
from reweigh.data.batches import DevicePart
from reweigh.evaluate import confusion, metrics

# 5 of label 0 (3 found), 10 of label 1 (9 found): recall .6, precision 3/4.
COUNTS = np.array([[[3, 2], [0, 0]], [[0, 0], [1, 9]]])


def test_two_classes_by_hand():
    found = metrics(COUNTS, two_class=True, group_is_label=True)
    assert found["test_accuracy"] == pytest.approx(12 / 15) and found["test_size"] == 15
    assert found["per_class_accuracy"] == pytest.approx([0.6, 0.9])
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert (found["minority_recall"], found["minority_precision"]) == pytest.approx((0.6, 0.75))
    assert found["per_group_accuracy"] is None and found["confusion"] == [[3, 2], [1, 9]]


def test_groups_by_hand():
    women, men = [[4, 0], [1, 1]], [[2, 2], [0, 6]]
    found = metrics(np.array([women, men]), two_class=False, group_is_label=False)
    assert found["per_group_accuracy"] == pytest.approx([5 / 6, 8 / 10])
    assert found["minority_recall"] is None and found["minority_precision"] is None
    assert found["test_accuracy"] == pytest.approx(13 / 16)


def test_nothing_predicted_as_minority_has_no_precision():
    found = metrics(np.array([[[0, 5], [0, 0]], [[0, 0], [0, 10]]]), two_class=True, group_is_label=True)
    assert found["minority_recall"] == 0 and found["minority_precision"] is None


def test_confusion_counts_every_example_once():
    rng = np.random.default_rng(0)
    labels, groups, logits = rng.integers(0, 3, 1234), rng.integers(0, 2, 1234), rng.normal(size=(1234, 3))
    part = DevicePart(logits.astype(np.float32), Part(np.arange(1234), labels, groups), "none", torch.device("cpu"))
    counts = confusion(lambda inputs: inputs, part, classes=3, groups=2, batch_size=100)
    expected = np.zeros((2, 3, 3), int)
    for group, label, predicted in zip(groups, labels, logits.argmax(1), strict=True):
        expected[group, label, predicted] += 1
    assert (counts == expected).all() and counts.sum() == 1234
