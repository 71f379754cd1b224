"""The classes of a split in the cells {noisy, clean} x {rare, common}, from its recipe alone."""

from collections.abc import Mapping
from typing import Any

from reweigh.data.imbalance import rare_classes
from reweigh.data.noise_recipe import noisy_classes

CELLS = ("noisy_rare", "noisy_common", "clean_rare", "clean_common")


def cells(split: Mapping[str, Any], classes: int, human_labels: bool = False) -> dict[str, list[int]]:
    """The classes in each cell that has any, in the order of `CELLS`; together they are 0 to `classes` - 1.

    Noisy are the classes in the groups of heteroskedastic noise, and all under other noise, or where people gave the
    labels (`human_labels`: the data set's own labels are wrong). Rare are those of
    `reweigh.data.imbalance.rare_classes`.

    >>> cells({"kind": "step", "imbalance_ratio": 10, "rare": [1], "noise": {"rate": 0.4, "groups": [[1, 2]]}}, 4)
    {'noisy_rare': [1], 'noisy_common': [2], 'clean_common': [0, 3]}
    """
    noisy = range(classes) if human_labels else noisy_classes(split, classes)
    rare = rare_classes(split, classes)
    found: dict[str, list[int]] = {name: [] for name in CELLS}
    for k in range(classes):
        found[f"{'noisy' if k in noisy else 'clean'}_{'rare' if k in rare else 'common'}"].append(k)
    return {name: inside for name, inside in found.items() if inside}
