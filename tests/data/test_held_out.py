"""Validation parts with a long tail of their own, shares rounded up: printed sizes, what moves, what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import project

from reweigh.config import known_sizes, sizes
from reweigh.config import loading as config
from reweigh.config.specs import Spec
from reweigh.data.arrays import RawData
from reweigh.data.groups import part_of
from reweigh.data.imbalance import long_tail_sizes, validation_tail
from reweigh.data.split import draw
from reweigh.errors import ConfigError, ReweighError
from reweigh.provenance.consistency import contradictions
from reweigh.training.run import Job


def toy(dataset):
    """A data set with the class sizes of a real one, in shuffled order, and no inputs."""
    generator = np.random.default_rng(0)
    labels = [
        generator.permutation(np.repeat(np.arange(len(part)), part))
        for part in (known_sizes.CLASS_SIZES[dataset], known_sizes.TEST_SIZES[dataset])
    ]
    inputs = [np.zeros((len(part), 1), np.float32) for part in labels]
    names = tuple(f"class {k}" for k in range(len(known_sizes.CLASS_SIZES[dataset])))
    return RawData(inputs[0], labels[0], inputs[1], labels[1], class_names=names)


TOYS = {name: toy(name) for name in ("mnist", "cifar10", "cifar100", "cifar10-slice", "cifar100-slice")}
BASE = {
    "kind": "long-tail",
    "imbalance_ratio": 100.0,
    "target_size": 0,
    "target_inside": False,
    "validation_size": 0,
    "order": "random",
    "test": "all",
    "test_size": None,
}
CIFAR10 = BASE | {"largest_class": 4000, "rounding": "ceil", "validation_largest_class": 1000}
CIFAR100 = BASE | {
    "largest_class": 500,
    "rounding": "round",
    "validation_largest_class": 100,
    "validation_inside": True,
}


def planned(dataset, split):
    """The sizes of training and validation part by the config, which reads no data; ConfigError if they cannot be."""
    data = {"dataset": dataset, "options": {}, "split": split}
    sizes.check(data, "here")
    train = sizes.training_sizes(data)
    both = sizes.stage_sizes(data, sizes.PlannedStage(1, part="train+validation"))
    return train, [whole - size for whole, size in zip(both, train, strict=True)]


def parts(drawn):
    return drawn.sizes()["train"], drawn.sizes()["validation"]


# sizes that AutoBalance's code has (Li et al., NeurIPS 2021) --------------------------------------------------------


def test_cifar10_rounded_up():
    train, validation = parts(draw(TOYS["cifar10"], CIFAR10, 0))
    assert train == [4000, 2398, 1438, 862, 517, 310, 186, 112, 67, 41]
    assert validation == [1000, 600, 360, 216, 130, 78, 47, 28, 17, 11]
    assert (sum(train), sum(validation)) == (9931, 2487)
    assert sum(long_tail_sizes(5000, 100, 10, "ceil")) == 12415
    assert planned("cifar10", CIFAR10) == (train, validation)


def test_cifar100_rounded_to_the_nearest_with_validation_inside():
    train, validation = parts(draw(TOYS["cifar100"], CIFAR100, 0))
    total = [size + held_out for size, held_out in zip(train, validation, strict=True)]
    assert total[:5] == [500, 477, 456, 435, 415] and total[-6:] == [6, 6, 6, 5, 5, 5]
    assert validation[:3] == [100, 95, 91] and validation.count(1) == 9 and min(validation) == 1
    assert (sum(total), sum(validation), sum(train)) == (10899, 2180, 8719)
    assert sum(long_tail_sizes(500, 100, 100, "ceil")) == 10946
    assert planned("cifar100", CIFAR100) == (train, validation)


@pytest.mark.parametrize(
    ("dataset", "largest", "rounding", "train", "validation"),
    [
        ("cifar10", 5000, "exact", 9928, 2478),
        ("cifar100", 500, "exact", 8716, 2131),
        ("mnist", 5421, None, 13449 - 2686, 2686),
    ],
)
def test_a_fifth_of_each_class(dataset, largest, rounding, train, validation):
    split = BASE | {"largest_class": largest, "validation_share": 0.2} | ({"rounding": rounding} if rounding else {})
    drawn = parts(draw(TOYS[dataset], split, 0))
    assert [sum(part) for part in drawn] == [train, validation]
    assert planned(dataset, split) == drawn


def test_long_tailed_mnist_goes_from_5421_to_54():
    assert long_tail_sizes(5421, 100, 10) == [5421, 3249, 1948, 1167, 700, 419, 251, 150, 90, 54]


def test_a_share_rounded_up_takes_one_and_leaves_one():
    """ImageNet-LT and iNaturalist: ceil(.2 n_k) of each class, at least one; a class of two keeps one."""
    taken = {count: part_of(count, 0.2, "up") for count in (1280, 1000, 7, 6, 5, 3, 2, 1)}
    assert taken == {1280: 256, 1000: 200, 7: 2, 6: 2, 5: 1, 3: 1, 2: 1, 1: 0}
    split = BASE | {"largest_class": 40, "imbalance_ratio": 20.0, "validation_share": 0.2, "validation_rounding": "up"}
    drawn = draw(TOYS["cifar100-slice"], split, 0)
    train, validation = parts(drawn)
    assert min(train) >= 1 and validation == [part_of(size, 0.2, "up") for size in drawn_whole(split)]
    assert planned("cifar100-slice", split) == (train, validation)


def drawn_whole(split):
    return long_tail_sizes(split["largest_class"], split["imbalance_ratio"], 20)


# which examples -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**40), st.sampled_from(["random", "first", "legacy"]), st.booleans())
def test_the_training_part_is_the_same_beside_a_validation_part_of_any_size(seed, order, with_targets):
    recipe = CIFAR10 | {"order": order, "target_size": 50 if with_targets else 0, "largest_class": 3900}
    seed %= 2**32
    splits = [draw(TOYS["cifar10"], recipe | {"validation_largest_class": size}, seed) for size in (100, 500, 1000)]
    for smaller, larger in itertools.pairwise(splits):
        assert smaller.train.index.tolist() == larger.train.index.tolist()
        assert set(smaller.validation.index.tolist()) < set(larger.validation.index.tolist())
    one, *_ = splits
    assert one.train.label.tolist() == TOYS["cifar10"].train_labels[one.train.index].tolist()


def test_inside_is_a_part_of_the_long_tail_that_there_would_be_without():
    without = {key: value for key, value in CIFAR100.items() if not key.startswith("validation_l")}
    whole = draw(TOYS["cifar100"], {**without, "validation_inside": None}, 3)
    drawn = draw(TOYS["cifar100"], CIFAR100, 3)
    both = np.sort(np.concatenate((drawn.train.index, drawn.validation.index)))
    assert both.tolist() == whole.train.index.tolist()


# what cannot be -----------------------------------------------------------------------------------------------------


@st.composite
def cases(draw_from):
    dataset = draw_from(st.sampled_from(["cifar10-slice", "cifar100-slice"]))
    largest = draw_from(st.integers(1, 230))
    split = BASE | {
        "largest_class": largest,
        "imbalance_ratio": draw_from(st.sampled_from([1.0, 2.5, 10 / 3, 20.0, 100.0])),
        "rounding": draw_from(st.sampled_from([None, "exact", "ceil", "round"])),
        "order": draw_from(st.sampled_from(["random", "first", "legacy"])),
        "target_size": 20 * draw_from(st.sampled_from([0, 0, 1, 3])),
        "target_inside": draw_from(st.booleans()),
    }
    held_out = draw_from(st.sampled_from(["tail", "tail", "tail", "share", "both"]))
    if held_out != "share":
        split["validation_largest_class"] = draw_from(st.integers(1, 120) | st.integers(1, 2 * largest))
        split["validation_inside"] = draw_from(st.sampled_from([None, True]))
    if held_out != "tail":
        split["validation_share"] = draw_from(st.sampled_from([0.05, 0.2, 0.9]))
        split["validation_rounding"] = draw_from(st.sampled_from([None, "up"]))
    return dataset, split


@settings(max_examples=400, deadline=None, derandomize=True)
@given(cases())
def test_the_config_plans_what_is_drawn_and_refuses_the_rest_in_one_line(case):
    dataset, split = case
    try:
        drawn = draw(TOYS[dataset], split, 0)
    except ReweighError as error:
        if split["target_inside"] and "validation_share of class" in str(error):
            return  # how many targets are among the few of a class that are trained on is known once they are drawn
        with pytest.raises(ConfigError, match=r"^here: [^\n]+$"):
            planned(dataset, split)
        return
    if split.get("validation_share") and not len(drawn.validation):
        with pytest.raises(ConfigError, match="holds nothing out"):
            planned(dataset, split)
        return
    assert planned(dataset, split) == parts(drawn)
    assert not set(drawn.train.index) & set(drawn.validation.index)
    if split.get("validation_largest_class"):
        assert parts(drawn)[1] == validation_tail(split, len(drawn.class_names))
        assert min(parts(drawn)[0]) >= 1 and min(parts(drawn)[1]) >= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"validation_largest_class": 1001}, "class 0 needs 5001 images (4000 to train on), cifar10 has 5000"),
        (
            {"validation_largest_class": 4000, "validation_inside": True},
            "validation_largest_class 4000 holds all 4000 examples of class 0 out; lower it",
        ),
        ({"validation_size": 10}, "are ways to the same part; use one of them"),
        ({"validation_share": 0.2}, "are ways to the same part; use one of them"),
        ({"validation_largest_class": None, "validation_inside": True}, "validation_inside needs validation_largest_"),
        ({"validation_rounding": "up"}, "validation_rounding is that of validation_share, which is not there"),
        ({"kind": "step"}, "validation_largest_class does not go with kind step; use validation_share"),
        ({"noise": {"kind": "symmetric", "rate": 0.2}}, "does not go with noise; use validation_share"),
        ({"target_size": 10, "target_inside": True}, "does not go with target_inside; use validation_size"),
    ],
)
def test_what_does_not_go_together_is_refused_by_config_and_draw(change, says):
    with pytest.raises(ConfigError) as refused:
        planned("cifar10", CIFAR10 | change)
    assert str(refused.value).startswith("here: ") and says in str(refused.value)
    with pytest.raises(ReweighError) as refused:
        draw(TOYS["cifar10"], CIFAR10 | change, 0)
    assert "\n" not in str(refused.value)


# a run --------------------------------------------------------------------------------------------------------------


def test_a_record_of_such_a_run_holds_together(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    spec = config.resolve("smoke/tdr/mnist-lt/rho0.1/none/seed0")
    tail = {"rounding": "ceil", "validation_largest_class": 20, "target_size": 0, "target_inside": False}
    spec["data"]["split"] |= tail
    spec["training"] |= {"also_measure": ["validation"], "epochs": 2}
    spec["training"]["schedule"] = {"name": "constant", "warmup_epochs": 1, "warmup_by": "epoch"}
    body = Job(Spec.model_validate(spec).model_dump(), torch.device("cpu")).finish()
    assert contradictions(body) == []
    assert body["split"]["sizes"]["validation"] == long_tail_sizes(20, 10, 10, "ceil")
    body["split"]["sizes"]["validation"][1] += 1
    assert "split.sizes.validation sums to 88, but its spec asks for 87" in contradictions(body)
