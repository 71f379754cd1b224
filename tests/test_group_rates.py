"""What counts by group say, on examples by hand."""

import doctest
import math
import operator

import pytest
from support import synthetic_records

from reweigh import group_rates, metrics
from reweigh.analysis import resolution, tables
from reweigh.group_rates import Cell
from reweigh.provenance import recompute
from reweigh.records.lineage import value_of

# Waterbirds on its public test set: landbird on land and on water, waterbird on land and on water.
CELLS = [[[2165, 90], [0, 0]], [[1804, 451], [0, 0]], [[0, 0], [321, 321]], [[0, 0], [64, 578]]]
TRAINED = {"train": [1749, 92, 28, 529], "validation": [1749, 92, 28, 528]}  # together 3498, 184, 56, 1057
BODY = {
    "status": "finished",
    "metrics": {"group_confusion": CELLS, "confusion": [[3969, 541], [385, 899]], "balanced_accuracy": 0.79},
    "group_sizes": TRAINED,
    "curves": {},
}
ERRORS = [90 / 2255, 451 / 2255, 0.5, 64 / 642]


def test_the_examples_hold():
    failed, tried = doctest.testmod(group_rates)
    assert tried and not failed


def test_errors_of_the_four_cells_of_waterbirds():
    found = metrics.of_record(BODY)
    assert group_rates.cells(BODY)[1] == Cell(1, 0, 2255, 0.2, 184 / 4795)
    assert found["group_balanced_error"] == pytest.approx(sum(ERRORS) / 4)
    assert found["worst_class_group_error"] == 0.5
    assert found["deo_error"] == pytest.approx((451 - 90) / 2255 + 0.5 - 64 / 642)
    shares = (0.7295, 0.0384, 0.0117, 0.2204)  # as the paper prints them
    assert found["standard_error_train_shares"] == pytest.approx(sum(map(operator.mul, shares, ERRORS)), abs=1e-4)
    assert found["standard_error_train_shares"] == pytest.approx(
        (3498 * ERRORS[0] + 184 * 0.2 + 56 * 0.5 + 1057 * ERRORS[3]) / 4795
    )


def test_groups_with_two_classes_each_have_two_cells_each():
    body = {"metrics": {"group_confusion": [[[90, 10], [4, 6]], [[50, 10], [4, 36]]]}}
    body["group_sizes"] = {"train": [50, 50], "validation": [0, 0]}
    errors = [0.1, 10 / 60, 0.4, 0.1]  # by class, then by group
    assert [(cell.label, cell.group) for cell in group_rates.cells(body)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert group_rates.group_balanced_error(body) == pytest.approx(sum(errors) / 4)
    assert group_rates.deo_error(body) == pytest.approx(10 / 60 - 0.1 + 0.3)
    assert group_rates.worst_class_group_error(body) == 0.4
    assert group_rates.standard_error_train_shares(body) is None  # its record counts groups, not cells
    assert (group_rates.worst_group_tpr(body), group_rates.equal_opportunity_gap(body)) == pytest.approx((0.6, 0.3))


def test_groups_are_cells_where_there_are_any_and_classes_elsewhere():
    found = metrics.of_record(BODY)
    assert found["mean_group_accuracy"] == pytest.approx(1 - sum(ERRORS) / 4)
    assert found["worst_cell_accuracy"] == pytest.approx(0.5)
    steps = [1 / 2255, 1 / 2255, 1 / 642, 1 / 642]
    assert resolution.resolution(BODY, "mean_group_accuracy") == pytest.approx(math.hypot(*steps) / 4)
    assert resolution.resolution(BODY, "worst_cell_accuracy") == pytest.approx(1 / 642)
    digits = {"status": "finished", "metrics": {"per_class_accuracy": [0.9, 0.5, None], "balanced_accuracy": 0.7}}
    digits["metrics"]["confusion"] = [[9, 1, 0], [2, 2, 0], [0, 0, 0]]
    found = metrics.of_record(digits)
    assert (found["mean_group_accuracy"], found["worst_cell_accuracy"]) == (pytest.approx(0.7), 0.5)
    assert resolution.resolution(digits, "worst_cell_accuracy") == 1 / 4
    assert resolution.resolution(digits, "mean_group_accuracy") == pytest.approx(math.hypot(1 / 10, 1 / 4) / 2)
    lacking = BODY | {"metrics": BODY["metrics"] | {"group_confusion": CELLS[:3]}}
    assert metrics.of_record(lacking)["worst_cell_accuracy"] is None


@pytest.mark.parametrize(
    "counts",
    [None, [], CELLS[:3], [*CELLS[:3], [[0, 0], [0, 0]]], [[[0, 0], [0, 0]]] * 2],
    ids=["no counts", "no group", "three cells", "an empty cell", "nothing tested"],
)
def test_what_lacks_a_cell_has_no_error_of_cells(counts):
    body = {"metrics": {"group_confusion": counts}, "group_sizes": None}
    for error in ("group_balanced_error", "worst_class_group_error", "deo_error", "standard_error_train_shares"):
        assert metrics.DERIVED[error](body) is None


def test_three_groups_a_class_have_no_symmetric_difference():
    body = {"metrics": {"group_confusion": [[[8, 2], [1, 9]]] * 3}}
    assert group_rates.deo_error(body) is None and group_rates.group_balanced_error(body) == pytest.approx(0.15)


def test_true_positive_rates_need_two_labels_and_positives():
    assert group_rates.true_positive_rates({}) is None
    assert group_rates.true_positive_rates({"group_confusion": None}) is None
    assert group_rates.true_positive_rates({"group_confusion": [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]}) is None
    assert group_rates.true_positive_rates({"group_confusion": [[[1, 0, 0]] * 3]}) is None
    assert group_rates.worst_group_tpr({"metrics": {}}) is group_rates.equal_opportunity_gap({"metrics": {}}) is None


def test_the_worst_group_is_that_of_the_lowest_accuracy_and_its_step_that_of_its_smallest():
    tables = [[[9, 1], [2, 8]], [[3, 1], [1, 0]], [[0, 0], [0, 0]]]
    stated = {"per_group_accuracy": [0.85, 0.6, None], "group_confusion": tables, "confusion": [[12, 2], [3, 8]]}
    body = {"status": "finished", "metrics": stated}
    assert metrics.of_record(body)["worst_group_accuracy"] == 0.6
    assert resolution.resolution(body, "worst_group_accuracy") == 1 / 5  # an empty group has no step
    assert group_rates.worst_group_accuracy({"metrics": {"per_group_accuracy": None}}) is None
    assert group_rates.worst_group_accuracy({"metrics": {}}) is None


def test_the_steps_in_which_errors_of_cells_are_known():
    steps = [1 / 2255, 1 / 2255, 1 / 642, 1 / 642]
    assert resolution.resolution(BODY, "group_balanced_error") == pytest.approx(math.hypot(*steps) / 4)
    assert resolution.resolution(BODY, "deo_error") == pytest.approx(math.hypot(*steps))
    assert resolution.resolution(BODY, "worst_class_group_error") == pytest.approx(1 / 642)
    shares = [3498 / 4795, 184 / 4795, 56 / 4795, 1057 / 4795]
    weighted = math.hypot(*(step * share for step, share in zip(steps, shares, strict=True)))
    assert resolution.resolution(BODY, "standard_error_train_shares") == pytest.approx(weighted)
    of_classes = resolution.resolution(BODY, "balanced_accuracy")
    assert (
        resolution.resolution(BODY, "balanced_error") == of_classes == pytest.approx(math.hypot(1 / 4510, 1 / 1284) / 2)
    )


def test_every_reader_of_records_knows_what_follows_from_them(tmp_path):
    root = synthetic_records.project(tmp_path / "project")
    counts = [[[90, 10], [4, 6]], [[50, 10], [4, 36]]]
    run = "paper/tdr/adult/sex/tdr/seed0"
    body = synthetic_records.make(root, run, group_confusion=counts)
    row = tables.table({run: body}).iloc[0]
    line = {"metric": "deo_error", "kind": "number", "n": "1"}
    for name in metrics.DERIVED:
        expected = metrics.of_record(body)[name]
        assert value_of(body, name) == expected
        assert recompute.line(line | {"metric": name}, [body], root)["mean"] == expected
        assert row[name] == pytest.approx(expected, nan_ok=True) if expected is not None else math.isnan(row[name])
    assert value_of(body | {"status": "diverged"}, "deo_error") is None
