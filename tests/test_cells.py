"""Cells of noisy and rare classes, and what records say of them, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reweigh import cells, metrics

STEP = {"kind": "step", "imbalance_ratio": 10}
CROSSED = {**STEP, "noise": {"kind": "heteroskedastic", "rate": 0.4, "groups": [[4, 9], [3, 5]]}, "rare": [0, 2, 4, 9]}
RECALLS = [0.9, 0.99, 0.8, 0.7, 0.6, 0.75, 0.98, 0.97, 0.96, 0.5]


def body(split=CROSSED, recalls=RECALLS, **beside):
    return {
        "status": "finished",
        "spec": {"data": {"split": split}},
        "metrics": {"per_class_accuracy": recalls, "balanced_accuracy": 0.8},
        "also_measured": beside or None,
    }


def test_the_crossed_design_has_all_four_cells():
    expected = {"noisy_rare": [4, 9], "noisy_common": [3, 5], "clean_rare": [0, 2], "clean_common": [1, 6, 7, 8]}
    assert cells.cells(CROSSED, 10) == expected


def test_the_released_design_has_two():
    found = cells.cells({**STEP, "noise": {"groups": [[1, 9], [3, 5]]}, "rare": [1, 3, 5, 9]}, 10)
    assert found == {"noisy_rare": [1, 3, 5, 9], "clean_common": [0, 2, 4, 6, 7, 8]}


@pytest.mark.parametrize(
    "split", [{}, {"noise": None}, {"noise": {"kind": "agnostic", "rate": 0.2}}, {**STEP, "rare": [1]}]
)
def test_without_named_noisy_classes_there_are_no_cells(split):
    assert cells.cells(split, 10) == {}
    assert metrics.of_record(body(split))["accuracy_clean_common"] is None


def test_of_a_step_that_names_none_the_second_half_is_rare():
    noise = {"noise": {"groups": [[0, 3]]}}
    assert cells.cells({**STEP, **noise}, 4) == {
        "noisy_rare": [3], "noisy_common": [0], "clean_rare": [2], "clean_common": [1]
    }  # fmt: skip


@pytest.mark.parametrize("split", [{"kind": "all"}, {**STEP, "imbalance_ratio": 1, "rare": [0]}])
def test_where_all_classes_are_of_one_size_none_is_rare(split):
    assert cells.cells({**split, "noise": {"groups": [[0, 3]]}}, 4) == {"noisy_common": [0, 3], "clean_common": [1, 2]}


def test_a_long_tail_has_no_cells():
    split = {"kind": "long-tail", "imbalance_ratio": 10, "noise": {"groups": [[0, 3]]}}
    assert cells.cells(split, 4) == {}


@given(st.sets(st.integers(0, 9), min_size=1), st.sets(st.integers(0, 9), min_size=2))
def test_every_class_is_in_one_cell(rare, noisy):
    found = cells.cells({**STEP, "noise": {"groups": [sorted(noisy)]}, "rare": sorted(rare)}, 10)
    assert sorted(label for labels in found.values() for label in labels) == list(range(10)) and all(found.values())
    assert {label for cell, labels in found.items() for label in labels if cell.endswith("_rare")} == rare
    assert {label for cell, labels in found.items() for label in labels if cell.startswith("noisy_")} == noisy


def test_the_accuracy_of_a_cell_is_the_mean_recall_of_its_classes():
    found = metrics.of_record(body())
    assert found["accuracy_noisy_rare"] == pytest.approx((0.5 + 0.6) / 2)
    assert found["accuracy_noisy_common"] == pytest.approx((0.7 + 0.75) / 2)
    assert found["accuracy_clean_rare"] == pytest.approx((0.9 + 0.8) / 2)
    assert found["accuracy_clean_common"] == pytest.approx((0.99 + 0.98 + 0.97 + 0.96) / 4)


def test_a_class_that_was_not_tested_leaves_its_cell_without_a_value():
    found = metrics.of_record(body(recalls=[None, *RECALLS[1:]]))
    assert found["accuracy_clean_rare"] is None and found["accuracy_noisy_rare"] is not None


def test_training_accuracy_is_by_given_labels_and_by_true_ones():
    given_labels, true = {"per_class_accuracy": [0.1] * 10}, {"per_class_accuracy": [0.2] * 10}
    found = metrics.of_record(body(train=given_labels, train_clean=true))
    assert found["train_accuracy_noisy_rare"] == pytest.approx(0.1)
    assert found["train_clean_accuracy_noisy_rare"] == pytest.approx(0.2)
    alone = metrics.of_record(body(train=given_labels))  # no label was changed: they are the true ones
    assert alone["train_clean_accuracy_noisy_rare"] == pytest.approx(0.1)
    assert metrics.of_record(body())["train_accuracy_noisy_rare"] is None


def test_what_is_held_out_beside_the_test_set_has_a_balanced_accuracy():
    assert metrics.of_record(body(validation={"balanced_accuracy": 0.61}))["validation_balanced_accuracy"] == 0.61
    assert metrics.of_record(body())["validation_balanced_accuracy"] is None


def test_a_run_that_diverged_has_none_of_them():
    assert metrics.of_record({**body(), "status": "diverged"}) == {}
