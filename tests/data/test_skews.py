"""The skewed CIFAR-100 of MOLERE's Table 2: sizes of the sheet, with and without meta images, and what is held out."""

import numpy as np
import pytest

from reweigh.config import sizes
from reweigh.config.cards import PlannedStage
from reweigh.data.arrays import RawData
from reweigh.data.split import draw
from reweigh.errors import ConfigError

CLASSES = 100
BASE = {"kind": "long-tail", "largest_class": 500, "rounding": "exact", "target_inside": False, "validation_size": 0}
BASE |= {"order": "random", "test": "all", "test_size": None}
# Skew -> total and smallest class without meta images, and with ten a class held out before.
SHEET = {
    200.0: ((9502, 2), (9304, 2)),
    50.0: ((12608, 10), (12354, 9)),
    10.0: ((19573, 50), (19183, 49)),
    1.0: ((50000, 500), (49000, 490)),
}


@pytest.fixture(scope="module")
def raw():
    """CIFAR-100 without its images."""
    generator = np.random.default_rng(0)
    labels = [generator.permutation(np.repeat(np.arange(CLASSES), each)) for each in (500, 100)]
    inputs = [np.zeros((len(part), 1), np.float32) for part in labels]
    names = tuple(f"class {k}" for k in range(CLASSES))
    return RawData(inputs[0], labels[0], inputs[1], labels[1], class_names=names)


def planned(split):
    """Sizes of the training and the validation part by the config, which reads no data."""
    data = {"dataset": "cifar100", "options": {}, "split": split}
    sizes.check(data, "here")
    train = sizes.training_sizes(data)
    both = sizes.stage_sizes(data, PlannedStage(1, part="train+validation"))
    return train, [whole - size for whole, size in zip(both, train, strict=True)]


def parts(raw, split, seed=0):
    drawn = draw(raw, split, seed).sizes()
    assert (drawn["train"], drawn["validation"]) == planned(split)
    assert drawn["test"] == [100] * CLASSES
    return drawn


@pytest.mark.parametrize("skew", SHEET)
@pytest.mark.parametrize("meta", [0, 1000])
def test_sizes_are_the_sheets(raw, skew, meta):
    drawn = parts(raw, BASE | {"imbalance_ratio": skew, "target_size": meta})
    total, smallest = SHEET[skew][meta > 0]
    assert (sum(drawn["train"]), min(drawn["train"]), drawn["train"][-1]) == (total, smallest, smallest)
    assert drawn["train"][0] == (490 if meta else 500) and drawn["train"] == sorted(drawn["train"], reverse=True)
    assert drawn["target"] == [meta // CLASSES] * CLASSES
    if meta:  # as if the largest class were asked for as GDW's code does, (50,000 − meta) / classes
        assert (
            drawn["train"]
            == parts(raw, BASE | {"largest_class": 490, "imbalance_ratio": skew, "target_size": 0})["train"]
        )


def test_meta_images_are_no_training_images(raw):
    drawn = draw(raw, BASE | {"imbalance_ratio": 200.0, "target_size": 1000, "validation_share": 0.1}, 3)
    rows = [set(part.index.tolist()) for part in (drawn.train, drawn.validation, drawn.target)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 9304 + 1000


@pytest.mark.parametrize(("skew", "held_out"), [(200.0, 999), (50.0, 1307), (10.0, 2004), (1.0, 5000)])
def test_a_tenth_rounded_up_leaves_no_class_without_a_validation_image(raw, skew, held_out):
    share = {"validation_share": 0.1, "validation_rounding": "up", "target_size": 0, "imbalance_ratio": skew}
    drawn = parts(raw, BASE | share)
    assert min(drawn["validation"]) >= 1 and min(drawn["train"]) >= 1
    assert sum(drawn["validation"]) == held_out
    assert sum(drawn["train"]) + held_out == SHEET[skew][0][0]


@pytest.mark.parametrize(
    ("skew", "meta", "without"), [(200.0, 0, 26), (200.0, 1000, 27), (50.0, 0, 0), (50.0, 1000, 1)]
)
def test_a_tenth_rounded_down_leaves_a_quarter_of_the_classes_without_one_at_skew_200(raw, skew, meta, without):
    drawn = parts(raw, BASE | {"validation_share": 0.1, "target_size": meta, "imbalance_ratio": skew})
    assert drawn["validation"].count(0) == without


def test_floats_lose_an_image_where_sizes_are_whole(raw):
    """Without `rounding: exact` the smallest class of skew 50 has 9 images for 10, that of skew 10 has 49 for 50."""
    for skew, smallest in ((50.0, 9), (10.0, 49)):
        drawn = parts(raw, BASE | {"rounding": None, "imbalance_ratio": skew, "target_size": 0})
        assert drawn["train"][-1] == smallest


def test_a_skew_that_leaves_a_class_empty_is_refused(raw):
    split = BASE | {"imbalance_ratio": 501.0, "target_size": 0}
    for ask in (planned, lambda split: draw(raw, split, 0)):
        with pytest.raises(ConfigError, match="leaves no example of class 99; lower it"):
            ask(split)
