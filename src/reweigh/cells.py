"""Accuracy by cell, where the labels of some classes are noisy and some classes are rare (HAR, ICLR 2021).

A cell is a set of classes: those that are noisy and rare, noisy and common, clean and rare, clean and common. Noisy are
the classes that `noise.groups` of the split takes for one another. Rare are those of a step, which its `rare` names or
else are the second half. The accuracy of a cell is the mean recall of its classes, so that each counts alike.
"""

from collections.abc import Callable, Mapping
from typing import Any

CELLS = ("noisy_rare", "noisy_common", "clean_rare", "clean_common")


def cells(split: Mapping[str, Any], classes: int) -> dict[str, list[int]]:
    """The classes of each cell that has any; nothing for a split whose noise names no classes, or of a long tail.

    >>> cells({"kind": "step", "imbalance_ratio": 10, "noise": {"groups": [[1, 3]]}, "rare": [0, 1]}, 4)
    {'noisy_rare': [1], 'noisy_common': [3], 'clean_rare': [0], 'clean_common': [2]}
    """
    groups, uneven = (split.get("noise") or {}).get("groups"), split.get("imbalance_ratio", 1) > 1
    if not groups or (uneven and split["kind"] != "step"):
        return {}
    noisy = {label for group in groups for label in group}
    rare = set(split.get("rare") or range(classes // 2, classes)) if uneven else set()
    found: dict[str, list[int]] = {cell: [] for cell in CELLS}
    for label in range(classes):
        is_noisy, is_rare = ("noisy" if label in noisy else "clean"), ("rare" if label in rare else "common")
        found[f"{is_noisy}_{is_rare}"].append(label)
    return {cell: labels for cell, labels in found.items() if labels}


def cell_accuracy(cell: str, part: str) -> Callable[[Mapping[str, Any]], float | None]:
    """The accuracy of a cell on a part of a run: the test set, or `train` and `train_clean` of `also_measured`.

    On the training part the labels are those that were given, in `train_clean` the true ones. None where a run has no
    such cell, has not measured the part, or lacks examples of one of its classes.
    """

    def derived(body: Mapping[str, Any]) -> float | None:
        measured = part_of(body, part)
        recalls = measured.get("per_class_accuracy") or []
        labels = cells(body.get("spec", {}).get("data", {}).get("split", {}), len(recalls)).get(cell, [])
        found = [recalls[label] for label in labels]
        return sum(found) / len(found) if found and None not in found else None

    return derived


def held_out_balanced_accuracy(body: Mapping[str, Any]) -> float | None:
    """The balanced accuracy on the held-out training examples of a run that measures its test set beside them."""
    value = part_of(body, "validation").get("balanced_accuracy")
    return None if value is None else float(value)


def part_of(body: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """What a run measured on a part: `test`, or one of `also_measured`; empty if it has not.

    Where no label was changed, the given ones are the true ones: `train_clean` is then `train`.
    """
    if part == "test":
        metrics: Mapping[str, Any] = body["metrics"]
        return metrics
    parts = body.get("also_measured") or {}
    found: Mapping[str, Any] = parts.get(part) or parts.get(part.removesuffix("_clean")) or {}
    return found
