"""What weights are by: classes or groups, however the examples are drawn."""

from dataclasses import replace

import numpy as np
import pytest
from support.toy_data import RECIPE, toy

from reweigh.data.arrays import PARTS, Split
from reweigh.data.split import draw
from reweigh.errors import ConfigError

KINDS = {
    "two-class": {"classes": [2, 0], "total": 60, "imbalance_ratio": 3.0},
    "long-tail": {"largest_class": 40, "imbalance_ratio": 4.0},
    "step": {"largest_class": 40, "imbalance_ratio": 4.0},
    "all": {},
    "groups": {},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["class", "group"])
@pytest.mark.parametrize("share", [None, 0.2])
def test_what_weights_are_by_changes_the_groups_and_not_one_example(kind, by, share):
    raw = toy([90, 80, 70], [30, 30, 30], groups=4)
    recipe = RECIPE | KINDS[kind] | {"kind": kind, "test": "all", "target_size": 12}
    recipe |= {"validation_share": share} if share else {"validation_size": 24}
    plain, split = draw(raw, recipe, seed=3), draw(raw, recipe | {"weights_by": by}, seed=3)
    for part in PARTS:
        before, after = getattr(plain, part), getattr(split, part)
        assert np.array_equal(before.index, after.index) and np.array_equal(before.label, after.label)
        own = (raw.test_groups if part == "test" else raw.train_groups)[after.index]
        assert after.group.tolist() == (own if by == "group" else after.label).tolist()
    assert split.group_names == (raw.group_names if by == "group" else split.class_names)
    if (by == "group") == (kind == "groups"):
        assert split.digest() == plain.digest()  # as it is without the key
    else:
        assert Split.from_bytes(split.to_bytes()).digest() == split.digest() != plain.digest()


def test_noisy_labels_leave_the_groups_of_the_data_set_as_they_are():
    raw = toy([90, 80, 70], [30, 30, 30], groups=4)
    noise = {"noise": {"kind": "symmetric", "rate": 0.4}, "test": "all", "target_size": 0}
    split = draw(raw, RECIPE | noise | {"kind": "all", "weights_by": "group"}, seed=0)
    assert (split.train.label != raw.train_labels[split.train.index]).mean() > 0.2
    assert np.array_equal(split.train.group, raw.train_groups[split.train.index])


def test_weights_by_a_group_that_there_is_not_are_refused():
    raw = replace(toy([90, 80], [30, 30]), train_groups=None, test_groups=None)
    for changes, says in (
        ({"kind": "all", "weights_by": "group"}, "split weights_by 'group' needs a data set that has groups, and this"),
        ({"kind": "groups", "test": "all"}, "split kind 'groups' needs a data set that has groups, and this one has"),
        ({"kind": "all", "weights_by": "sex"}, "split weights_by 'sex' is unknown; known: class, group"),
    ):
        with pytest.raises(ConfigError, match=f"^{says}"):
            draw(raw, RECIPE | changes, seed=0)
