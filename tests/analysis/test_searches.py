"""What a search left, by epoch and by class: against what was written down, with both orders of the steps."""

import numpy as np
import pytest

from reweigh.analysis import searches
from reweigh.data.arrays import npz_bytes
from reweigh.digest import file_digest
from reweigh.provenance import recompute_searches
from reweigh.records import record

RUN = "paper/autobalance/mnist-lt/rho100/delta_l/seed0"


def body_of(root, order="outer-first", status="finished", options=(), **arrays):
    """A record as far as searches look at it: five steps an epoch, a search of six epochs, then retraining."""
    path = record.record_path(RUN, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    trace = path.with_suffix(".npz")
    trace.write_bytes(npz_bytes(arrays))
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {
        "run": RUN,
        "status": status,
        "spec": {
            "seed": 0,
            "method_options": {
                "order": order, "design": ["l", "delta"], "multiplier": "sigmoid", "cluster_size": 3, **dict(options),
            },
        },
        "split": {"sizes": {"train": [10] * 10}},
        "stages": [{"epochs": 6, "steps_per_epoch": 5}, {"epochs": 2, "steps_per_epoch": 6}],
        "trace": {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes},
        "curves": {
            "epoch": [2, 4, 6, 7, 8],
            "stage": [0, 0, 0, 1, 1],
            "train_seconds": [1.0, 4.0, 9.0, 9.5, 10.5],
            "test_balanced_accuracy": [0.5, None, 0.75, 0.9, 0.9],
        },
    }  # fmt: skip


@pytest.mark.parametrize(("order", "late"), [("outer-first", 0), ("inner-first", 1)])
def test_an_outer_step_belongs_to_the_epoch_of_its_step_of_theta(tmp_path, order, late):
    """Inner-first it is logged under the number of the next step, so that the last one lies past the search."""
    places = [20, 22, 24, 25, 29]
    values = np.array([4.0, 3.0, 2.0, 1.0, 5.0])
    body = body_of(tmp_path, order, outer_step=np.array(places) + late, lambda_max=values, share_beyond=values / 10)
    found = searches.curvature_by_epoch(body, "largest_curvature", tmp_path)
    assert found.to_dict("list") == {"epoch": [5, 6], "value": [3.0, 3.0]}
    assert searches.steps_beyond(body, tmp_path) == pytest.approx(3 / 5)
    assert recompute_searches.epochs_of(body, "largest_curvature", tmp_path) == [5, 6]


def test_what_was_found_is_the_mean_over_a_fifth_of_the_classes_at_the_last_outer_step(tmp_path):
    """Ten classes in clusters of three: the ranks 0 to 9 have the clusters 0 0 0 1 1 1 2 2 2 3."""
    offsets = np.array([[9.0, 9.0, 9.0, 9.0], [1.0, 2.0, 4.0, 8.0], [0.0, 3.0, 5.0, 7.0]])
    body = body_of(tmp_path, outer_step=np.array([20, 24, 25]), l=offsets, delta=offsets)
    found = searches.found_by_epoch(body, "searched_offset", tmp_path).pivot(
        index="class", columns="epoch", values="value"
    )
    assert found[5].tolist() == [1.0, 1.5, 2.0, 4.0, 6.0]
    assert found[6].tolist() == [0.0, 1.5, 3.0, 5.0, 6.0]
    raised = searches.found_by_epoch(body, "searched_multiplier", tmp_path)["value"]
    assert raised.between(0, 1).all()
    assert raised.iloc[0] == pytest.approx(1 / (1 + np.exp(-1.0)))
    line = {"metric": "searched_multiplier", "epoch": "6", "class": "4"}
    assert recompute_searches.values(line, [body], tmp_path) == pytest.approx([raised.iloc[-1]])


def test_what_was_not_searched_or_not_by_clusters_is_not_shown(tmp_path):
    steps, by_cell = np.array([20]), np.zeros((1, 2, 2))
    assert searches.found_by_epoch(body_of(tmp_path, outer_step=steps, l=by_cell), "searched_offset", tmp_path) is None
    body = body_of(tmp_path, options={"design": ["delta"]}, outer_step=steps, l=np.zeros((1, 4)))
    assert searches.found_by_epoch(body, "searched_offset", tmp_path) is None
    assert searches.curvature_by_epoch(body, "largest_curvature", tmp_path) is None
    assert searches.steps_beyond(body, tmp_path) is None


def test_a_search_that_diverged_keeps_its_curvature_and_has_no_design(tmp_path):
    body = body_of(
        tmp_path, status="diverged", outer_step=np.array([20, 24, 25]), lambda_max=np.array([30.0, np.nan, np.nan]),
        l=np.zeros((3, 4)),
    )  # fmt: skip
    assert searches.found_by_epoch(body, "searched_offset", tmp_path) is None
    found = searches.curvature_by_epoch(body, "largest_curvature", tmp_path).dropna()
    assert found.to_dict("list") == {"epoch": [5], "value": [30.0]}
    assert recompute_searches.epochs_of(body, "largest_curvature", tmp_path) == [5]
    assert searches.steps_beyond(body, tmp_path) == 1.0 and searches.seconds_of(body, 0) is None


def test_errors_and_seconds_are_those_of_their_stage(tmp_path):
    body = body_of(tmp_path, outer_step=np.array([20]))
    assert searches.errors_by_epoch(body, "test").to_dict("list") == {"epoch": [2, 6], "value": [0.5, 0.25]}
    assert searches.errors_by_epoch(body, "validation") is None
    assert (searches.seconds_of(body, 0), searches.seconds_of(body, -1)) == (9.0, 1.5)
    plain = {**body, "stages": body["stages"][:1]}
    plain["curves"] = {"stage": [0, 0], "train_seconds": [1.0, 3.0]}
    assert searches.times(body, plain, "times_plain") == pytest.approx(3.5)
    assert searches.times(body, plain, "search_times_plain") == pytest.approx(3.0)


@pytest.mark.parametrize(("largest", "beyond"), [(1.9, False), (2.1, True)])
def test_the_largest_step_is_the_farthest_that_a_value_went_and_belongs_to_its_kind_of_search(
    tmp_path, largest, beyond
):
    moved = np.array([[0.0, 1.0], [0.5, 1.0], [0.5, -3.0]])
    curvature = np.array([1.0, largest, 0.5])
    body = body_of(tmp_path, outer_step=np.array([20, 24, 25]), l=moved, delta=moved / 8, lambda_max=curvature)
    assert searches.largest_step(body, tmp_path) == (4.0, largest)
    for metric, kind in searches.STEPS.items():
        found = searches.log_largest_step(body, kind, tmp_path)
        assert found == (pytest.approx(np.log10(4)) if kind == beyond else None)
        again = recompute_searches.values({"metric": metric}, [body], tmp_path)
        assert again == ([pytest.approx(np.log10(4))] if kind == beyond else [])


def test_a_search_of_one_step_or_of_no_numbers_has_no_largest_step(tmp_path):
    one = body_of(tmp_path, outer_step=np.array([20]), l=np.ones((1, 2)), delta=np.ones((1, 2)), lambda_max=np.ones(1))
    assert searches.largest_step(one, tmp_path) is None
    lost = np.array([[0.0], [np.nan]])
    body = body_of(tmp_path, outer_step=np.array([20, 21]), l=lost, delta=lost, lambda_max=np.ones(2))
    assert searches.largest_step(body, tmp_path) is None
    assert recompute_searches.values({"metric": "log_largest_step_within_two"}, [body], tmp_path) == []
