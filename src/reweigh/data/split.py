"""Splits: the training, target, validation and test examples that one (experiment, setting, seed) draws.

Target and validation examples come from the official training part, test examples from the official test part. Each
draw has its own named stream per class or group, so that the target set is the same at every imbalance ratio, and a
smaller training set of a class is part of a larger one.
"""

from typing import Any

import numpy as np

from reweigh.data.arrays import Part, RawData, Split
from reweigh.data.groups import even_share, members
from reweigh.data.imbalance import long_tail_sizes, two_class_sizes
from reweigh.errors import ConfigError, DataError
from reweigh.streams import rng

WORDS = {
    "kind": ("two-class", "long-tail", "groups"),
    "order": ("random", "first"),
    "test": ("balanced", "all", "group-balanced"),
}


def draw(raw: RawData, recipe: dict[str, Any], seed: int) -> Split:
    """Draw the split that `recipe` describes (the `split` block of a spec) from `raw`.

    kind "two-class": `classes` = [minority, majority] become labels 0 and 1; "long-tail": all classes, the largest
    first; "groups": every example, with the data set's own groups. Draws are even over classes ("groups": over groups).
    Target examples are kept out of training unless `target_inside`; validation examples always are, and are no targets.
    `order` "first" takes training and test examples from the front of the file, target and validation from its back.
    Indices come out in ascending order. Raises ConfigError for a recipe that cannot be, DataError if examples run out.
    """
    kept, names = _kept(raw, recipe)
    pools = members(raw.train_groups if recipe["kind"] == "groups" else raw.train_labels, kept)
    target_size = even_share(recipe["target_size"], len(kept), "target_size")
    validation_size = even_share(recipe.get("validation_size", 0), len(kept), "validation_size")
    nothing = np.empty(0, np.int64)

    def pick(stream: str, size: int | None, k: int, without: np.ndarray, pool: np.ndarray) -> np.ndarray:
        ordered = _ordered(pool, seed, recipe.get("order", "random"), stream, kept[k])
        return _first(ordered[~np.isin(ordered, without)], size, f"{stream} of {names[k]!r}")

    targets = [pick("target", target_size, k, nothing, pool) for k, pool in enumerate(pools)]
    validations = [pick("validation", validation_size, k, targets[k], pool) for k, pool in enumerate(pools)]
    reserved = [
        validations[k] if recipe.get("target_inside", False) else np.concatenate((targets[k], validations[k]))
        for k in range(len(kept))
    ]
    sizes = _train_sizes(recipe, [len(pool) for pool in pools], [len(part) for part in reserved])
    trains = [pick("subsample", sizes[k], k, reserved[k], pool) for k, pool in enumerate(pools)]

    test_pools = members(raw.test_groups if recipe["kind"] == "groups" else raw.test_labels, kept)
    test_size = _test_size(recipe, [len(pool) for pool in test_pools])
    tests = [pick("test", test_size, k, nothing, pool) for k, pool in enumerate(test_pools)]

    grouped = recipe["kind"] == "groups"
    train_parts = (
        _part(picked, raw.train_labels, raw.train_groups, kept, grouped) for picked in (trains, targets, validations)
    )
    test_part = _part(tests, raw.test_labels, raw.test_groups, kept, grouped)
    return Split(*train_parts, test_part, class_names=raw.class_names if grouped else names, group_names=names)


def _kept(raw: RawData, recipe: dict[str, Any]) -> tuple[list[int], tuple[str, ...]]:
    """The classes (or groups) that the split keeps, and their names. Raises ConfigError for words that do not exist."""
    for key, known in WORDS.items():
        if recipe.get(key, known[0]) not in known:
            raise ConfigError(f"split {key} {recipe[key]!r} is unknown; known: {', '.join(known)}")
    kind, test = recipe["kind"], recipe.get("test", "balanced")
    if (kind == "groups") != (test == "group-balanced") and test != "all":
        raise ConfigError(
            f"split test {test!r} does not go with kind {kind!r}: groups need 'group-balanced', classes 'balanced'"
        )
    if kind == "groups":
        if raw.train_groups is None or raw.test_groups is None:
            raise ConfigError("split kind 'groups' needs a data set that has groups, and this one has none")
        return list(range(len(raw.group_names))), raw.group_names
    kept = list(recipe["classes"]) if kind == "two-class" else list(range(len(raw.class_names)))
    if kind == "two-class" and (len(kept) != 2 or kept[0] == kept[1]):
        raise ConfigError(f"split classes {kept}: a two-class split names two different classes, [minority, majority]")
    for value in kept:
        if value not in range(len(raw.class_names)):
            raise ConfigError(f"split classes {kept}: no class {value}; known: 0 to {len(raw.class_names) - 1}")
    return kept, tuple(raw.class_names[value] for value in kept)


def _train_sizes(recipe: dict[str, Any], pools: list[int], reserved: list[int]) -> list[int | None]:
    """Training examples of each class (`None`: all that are left), from the recipe, class sizes and reserved examples.

    A long tail whose largest class would need reserved examples starts from what is left of it: CIFAR-10 with 5,000 and
    5 target examples a class starts at 4,995.
    """
    if recipe["kind"] == "groups":
        return [None] * len(pools)
    if recipe["kind"] == "two-class":
        return list(two_class_sizes(recipe["total"], recipe["imbalance_ratio"]))
    largest = recipe["largest_class"]
    if largest <= pools[0]:
        largest = min(largest, pools[0] - reserved[0])
    return list(long_tail_sizes(largest, recipe["imbalance_ratio"], len(pools)))


def _test_size(recipe: dict[str, Any], pools: list[int]) -> int | None:
    """Test examples of each class or group, `None` for all: the given total, else as many as the smallest one has."""
    if recipe.get("test_size") is not None:
        return even_share(recipe["test_size"], len(pools), "test_size")
    return None if recipe.get("test", "balanced") == "all" else min(pools)


def _ordered(pool: np.ndarray, seed: int, order: str, stream: str, value: int) -> np.ndarray:
    """The examples of one class in the order in which a stream takes them."""
    if order == "random":
        return rng(seed, stream, value).permutation(pool)
    return pool[::-1] if stream in ("target", "validation") else pool


def _first(ordered: np.ndarray, size: int | None, what: str) -> np.ndarray:
    """The first `size` examples. Raises DataError if there are not as many."""
    if size is not None and size > len(ordered):
        raise DataError(f"split: {size} examples wanted as {what}, but only {len(ordered)} can be had; ask for fewer")
    return ordered[:size]


def _part(
    picked: list[np.ndarray], labels: np.ndarray, groups: np.ndarray | None, kept: list[int], grouped: bool
) -> Part:
    """The picked examples of all classes as one part, sorted by index; without groups, the group is the label."""
    index = np.sort(np.concatenate(picked))
    if grouped:
        return Part(index.astype(np.int32), labels[index], groups[index])
    place = {value: k for k, value in enumerate(kept)}
    label = np.array([place[value] for value in labels[index].tolist()], np.int64)
    return Part(index.astype(np.int32), label, label)
