"""Which records may rightly have equal results: the same training under two names; and which are copies."""

import copy

import numpy as np
import pytest

from reweigh.config.methods import har, lrw, meta_network, remainder
from reweigh.digest import file_digest
from reweigh.provenance.audit import traces
from reweigh.provenance.audit.duplicates import duplicate_results

LOSSES = [0.9, 0.5, 0.31, 0.25]


def body(run, stages=("search", "retrain"), measured=0.7, data=None, digest="d1", **options):
    """A record as far as this looks at it."""
    return {
        "run": run,
        "status": "finished",
        "steps": 4,
        "curves": {"train_loss": LOSSES, "test_accuracy": [measured] * 4},
        "metrics": {"test_accuracy": measured},
        "stages": [{"name": name, "epochs": 2} for name in stages],
        "spec": {
            "seed": 0,
            "uses": "autobalance",
            "data": {
                "dataset": "waterbirds",
                "options": data or {},
                "split": {"kind": "groups", "validation_share": 0.5, "test": "all", "test_size": None},
            },
            "training": {"epochs": 2},
            "method_options": {"design": ["l"], "threshold": None, **options},
        },
        "split": {"digest": digest, "sizes": {"train": [5, 5], "validation": [2, 2], "test": [9, 9]}},
        "prefix": None,
    }


def found(*bodies):
    return duplicate_results({one["run"]: one for one in bodies})


ROOT = "paper/autobalance/waterbirds/linear"
PLAIN = body(f"{ROOT}/autobalance/seed0")


def test_a_threshold_changes_predictions_alone():
    with_one = body(f"{ROOT}/autobalance_threshold/seed0", measured=0.8, threshold={"by": "losses"})
    assert found(PLAIN, with_one) == {}


def test_but_a_method_that_trains_a_stage_to_choose_it_trains_something_else():
    with_one = body(f"{ROOT}/ce_threshold/seed0", stages=("fit", "train"), threshold={"by": "losses"})
    assert set(found(body(f"{ROOT}/ce/seed0", stages=("train",)), with_one)) == {
        f"{ROOT}/ce/seed0",
        f"{ROOT}/ce_threshold/seed0",
    }


@pytest.mark.parametrize("name", ["objective", "upper"])
def test_a_part_of_weight_0_is_not_there(name):
    first = body(f"{ROOT}/ce_deo/seed0", **{name: {"ce": 1.0, "ce_deo": 0.0}})
    second = body(f"{ROOT}/ce_bal_g/seed0", **{name: {"ce": 1.0, "ce_bal_g": 0.0}})
    other = body(f"{ROOT}/group_la/seed0", **{name: {"ce": 0.9, "group_la": 0.1}})
    assert found(first, second) == {} and len(found(first, other)) == 2


def test_another_official_part_to_measure_is_the_same_training():
    tuning = body("paper/autobalance/waterbirds-tuning-deo/share0.9/ce_deo/seed0", digest="d2", measured=0.6,
                  data={"official_validation": True})  # fmt: skip
    tuning["split"]["sizes"]["test"] = [4, 4]
    assert found(PLAIN, tuning) == {}
    smaller = copy.deepcopy(tuning)
    smaller["split"]["sizes"]["train"] = [4, 5]
    assert len(found(PLAIN, smaller)) == 2


def test_other_images_of_the_test_part_are_the_same_training():
    """As of Waterbirds' settings `linear` and `linear-400`."""
    fewer = body("paper/autobalance/waterbirds/linear-400/autobalance/seed0", digest="d2", measured=0.6)
    fewer["spec"]["data"]["split"] |= {"test": "group-balanced", "test_size": 4, "test_seed": 0}
    fewer["split"]["sizes"]["test"] = [2, 2]
    assert found(PLAIN, fewer) == {}
    other = copy.deepcopy(fewer)
    other["spec"]["data"]["split"]["validation_share"] = 0.25
    assert len(found(PLAIN, other)) == 2


def test_other_examples_or_another_seed_are_another_training():
    elsewhere = body(f"{ROOT}/autobalance_auto/seed0", digest="d2")
    later = body(f"{ROOT}/autobalance/seed1")
    later["spec"]["seed"] = 1
    assert len(found(PLAIN, elsewhere)) == 2 and len(found(PLAIN, later)) == 2


@pytest.mark.parametrize(("head_sd", "copies"), [(0.0, 0), (0.1, 2)])
def test_a_control_that_is_another_method_by_construction(head_sd, copies):
    """LRW whose weights stay equal trains as its removal control does; with unequal ones that would be a copy."""
    place, records = "paper/molere/mnist-ordering/clean", []
    network = {**meta_network.FROZEN, "head_sd": head_sd}
    said = {"lrw_hard_frozen": ("lrw", {**lrw.HARD, "network": network}, "lrw"),
            "hard_removed": ("remainder", {**remainder.EASY, "removed": "hard"}, "remainder")}  # fmt: skip
    for name, (uses, options, second) in said.items():
        record = body(f"{place}/{name}/seed0", stages=("erm", second))
        record["spec"].update(uses=uses, method_options=options)
        records.append(record)
    assert len(found(*records)) == copies


@pytest.mark.parametrize(
    ("sizes", "other", "copies"),
    [
        ([54, 540], {"floor": "1/n"}, 0),  # where it acts, the strengths that were logged are others
        ([54, 540], {"density_exponent": 0.0}, 2),
        ([540, 540], {"density_exponent": 0.0}, 0),
        ([540, 540], {"noise_exponent": 0.5}, 2),
    ],
)
def test_strengths_that_come_to_the_same(sizes, other, copies):
    records = []
    for name, options in {"har": har.CODE, "other": {**har.CODE, **other}}.items():
        record = body(f"paper/har/mnist-hetero/balanced/{name}/seed0", stages=("estimate-0", "regularise"))
        record["spec"].update(uses="har", method_options=options)
        record["split"]["sizes"]["train"] = sizes
        records.append(record)
    assert len(found(*records)) == copies


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ([0.5, 0.1], ""),
        ([0.5, 0.2], "its strengths are not those of its errors and class sizes"),
        ([0.5, -0.1], "complex"),  # no crash of the audit, whatever a file holds
        ([0.5], "argument 2 is longer than argument 1"),
    ],
)
def test_logged_strengths_must_follow_from_logged_errors(tmp_path, errors, fault):
    arrays = {"class_errors": np.array([errors]), "strengths": np.array([[1.0, 0.2**0.6 * 0.1**0.4]])}
    path = tmp_path / "seed0.json"
    np.savez(path.with_suffix(".npz"), **arrays)
    record = body("paper/har/mnist-hetero/crossed/har/seed0")
    record["spec"].update(uses="har", method_options=har.CODE)
    record["split"]["sizes"]["train"] = [54, 540]
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    record["trace"] = {"file": "seed0.npz", "sha256": file_digest(path.with_suffix(".npz")), "arrays": shapes}
    said = traces._fault(record, path)
    assert fault in said and bool(fault) == bool(said)


def test_a_record_of_a_method_that_is_gone_is_compared_by_its_spec():
    first, second = (body(f"{ROOT}/{name}/seed0") for name in ("old", "older"))
    for record, rate in ((first, 0.1), (second, 0.2)):
        record["spec"].update(uses="gone", method_options={"rate": rate})
    assert len(found(first, second)) == 2 and found(first, {**first, "run": f"{ROOT}/older/seed0"}) == {}
