"""Splits: the training, target, validation and test examples that one (experiment, setting, seed) draws.

Target and validation examples come from the official training part, test examples from the official test part. Each
draw has its own named stream per class or group, so that the target set is the same at every imbalance ratio, and a
smaller training set of a class is part of a larger one.

Optional keys of a recipe, absent in older records: `rounding`, `rare`, `fixed_seed`, `test_seed`, `noise`,
`validation_share`, `validation_rounding`, `validation_largest_class`, `validation_inside`, `weights_by`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from reweigh.data.arrays import PARTS, Part, RawData, Split
from reweigh.data.groups import by_attribute, even_share, members, part_of
from reweigh.data.imbalance import (
    check_held_out,
    check_rare,
    check_whole,
    class_sizes,
    heads,
    held_out_all,
    largest_that_fits,
    two_class_sizes,
    validation_tail,
)
from reweigh.data.noise import noisy
from reweigh.data.noise_recipe import check_order, comes_first
from reweigh.errors import ConfigError, DataError
from reweigh.streams import rng

WORDS = {
    "kind": ("two-class", "long-tail", "step", "all", "groups"),
    "order": ("random", "first", "legacy"),
    "test": ("balanced", "all", "group-balanced"),
    "weights_by": (None, "class", "group"),
}


def draw(raw: RawData, recipe: dict[str, Any], seed: int) -> Split:
    """Draw the split that `recipe` describes (the `split` block of a spec) from `raw`.

    kind "two-class": `classes` = [minority, majority] become labels 0 and 1; "long-tail" and "step": all classes, the
    largest first, or where a step does not name as `rare`; "all": every example of all classes; "groups": every
    example, with the data set's own groups. A class is what the data set's labels say, though people gave them and
    some are wrong. Draws are even over classes ("groups": over groups). Target examples are kept out of training
    unless `target_inside`; validation examples always are, and are no targets. Indices come out in ascending order.

    order             "first" takes training and test examples from the front of the file, target and validation from
                      its back; "legacy" does so after shuffling each class as Cao et al. (2019) do (see `_shuffled`),
                      with their sizes, which are exact
    rounding          of a long tail: "exact", "ceil" or "round" (see `long_tail_sizes`)
    fixed_seed        everything is drawn with this seed, whatever the run's own is
    test_seed         the test examples are drawn with this seed, so that all runs are tested on the same ones
    noise             {kind, rate}: labels of the training part get noise (see `reweigh.data.noise`); a class has its
                      size by its true labels. Target, validation and test examples that never were in it stay clean.
                      Kind "instance" is drawn for the whole official training part, which the split must keep. `seed`:
                      it is drawn with this seed, by numpy's old generator, whatever the run's own is. `first`: all of
                      the official training part gets it before anything else is drawn, and a class is what noisy labels
                      say, as in HAR's code: held-out examples are as noisy as those trained on
    validation_share  this share of the training part moves to validation, noise and all (see `_held_out`)
    validation_largest_class   the validation part has a long tail of its own (see `_with_tail`)
    weights_by        "class" or "group": what weights are by, however the examples were drawn (see `_weighed`)

    Raises ConfigError for a recipe that cannot be, DataError if examples run out.
    """
    kept, names = _kept(raw, recipe)
    seed = seed if recipe.get("fixed_seed") is None else recipe["fixed_seed"]
    order = recipe.get("order", "random")
    old = np.random.RandomState(seed) if order == "legacy" else None  # noise that comes first draws from it first
    given = raw.train_labels
    if comes_first(recipe):
        generator = old or rng(seed, "noise", recipe["noise"]["kind"])
        given = noisy(given, names, recipe["noise"], generator, raw.train_inputs)
    pools = members(raw.train_groups if recipe["kind"] == "groups" else given, kept)  # type: ignore[arg-type]
    if old is not None:
        pools = _shuffled(pools, old)
    target_size = even_share(recipe["target_size"], len(kept), "target_size")
    validation_size = even_share(recipe.get("validation_size", 0), len(kept), "validation_size")
    nothing = np.empty(0, np.int64)

    def pick(
        stream: str, size: int | None, k: int, without: np.ndarray, pool: np.ndarray, drawn_with: int = seed
    ) -> np.ndarray:
        ordered = _ordered(pool, drawn_with, order, stream, kept[k])
        return _first(ordered[~np.isin(ordered, without)], size, f"{stream} of {names[k]!r}")

    targets = [pick("target", target_size, k, nothing, pool) for k, pool in enumerate(pools)]
    validations = [pick("validation", validation_size, k, targets[k], pool) for k, pool in enumerate(pools)]
    reserved = [
        validations[k] if recipe.get("target_inside", False) else np.concatenate((targets[k], validations[k]))
        for k in range(len(kept))
    ]
    sizes = _train_sizes(recipe, names, [len(pool) for pool in pools], [len(part) for part in reserved])
    trains = [pick("subsample", sizes[k], k, reserved[k], pool) for k, pool in enumerate(pools)]
    if recipe.get("validation_largest_class"):
        trains, validations = _with_tail(recipe, trains, pools, targets, names, pick)

    test_pools = members(raw.test_groups if recipe["kind"] == "groups" else raw.test_labels, kept)  # type: ignore[arg-type]
    test_size = _test_size(recipe, dict(zip(names, map(len, test_pools), strict=True)))
    seed_of_test = seed if recipe.get("test_seed") is None else recipe["test_seed"]
    tests = [pick("test", test_size, k, nothing, pool, seed_of_test) for k, pool in enumerate(test_pools)]

    grouped = recipe["kind"] == "groups"
    train, target, validation = (
        _part(picked, given, raw.train_groups, kept, grouped) for picked in (trains, targets, validations)
    )
    if recipe.get("noise") and not comes_first(recipe):
        train = _with_noise(train, raw.train_inputs, names, recipe, seed)
    if recipe.get("validation_share"):
        train, validation = _held_out(train, target, recipe, seed, kept)
    test = _part(tests, raw.test_labels, raw.test_groups, kept, grouped)
    drawn = Split(train, target, validation, test, class_names=raw.class_names if grouped else names, group_names=names)
    return drawn if by_attribute(recipe) == grouped else _weighed(drawn, raw, recipe["weights_by"])


def _kept(raw: RawData, recipe: dict[str, Any]) -> tuple[list[int], tuple[str, ...]]:
    """The classes (or groups) that the split keeps, and their names. Raises ConfigError for words that do not exist."""
    _check_words(recipe)
    kind = recipe["kind"]
    if (kind == "groups" or by_attribute(recipe)) and not raw.has_groups:
        said = "kind 'groups'" if kind == "groups" else "weights_by 'group'"
        raise ConfigError(f"split {said} needs a data set that has groups, and this one has none")
    if kind == "groups":
        return list(range(len(raw.group_names))), raw.group_names
    kept = list(recipe["classes"]) if kind == "two-class" else list(range(len(raw.class_names)))
    if kind == "two-class" and (len(kept) != 2 or kept[0] == kept[1]):
        raise ConfigError(f"split classes {kept}: a two-class split names two different classes, [minority, majority]")
    for value in kept:
        if value not in range(len(raw.class_names)):
            raise ConfigError(f"split classes {kept}: no class {value}; known: 0 to {len(raw.class_names) - 1}")
    return kept, tuple(raw.class_names[value] for value in kept)


def _check_words(recipe: dict[str, Any]) -> None:
    """Raise ConfigError for a word of a recipe that does not exist, or does not go with the others."""
    for key, known in WORDS.items():
        if recipe.get(key, known[0]) not in known:
            words = ", ".join(word for word in known if word is not None)
            raise ConfigError(f"split {key} {recipe[key]!r} is unknown; known: {words}")
    kind, test = recipe["kind"], recipe.get("test", "balanced")
    if (kind == "groups") != (test == "group-balanced") and test != "all":
        raise ConfigError(
            f"split test {test!r} does not go with kind {kind!r}: groups need 'group-balanced', classes 'balanced'"
        )
    if recipe.get("order") == "legacy" and kind in ("two-class", "groups"):
        raise ConfigError(f"split order 'legacy' does not go with kind {kind!r}; use 'random'")
    if recipe.get("noise") and kind == "groups":
        raise ConfigError("split noise does not go with kind 'groups', whose groups are not the labels; use 'all'")
    if (share := recipe.get("validation_share")) is not None and not 0 < share < 1:
        raise ConfigError(f"validation_share {share} is impossible: it is above 0 and below 1")
    check_held_out(recipe)
    check_whole(recipe)
    check_order(recipe)
    check_rare(recipe.get("rare"))


def _train_sizes(
    recipe: dict[str, Any], names: tuple[str, ...], pools: list[int], reserved: list[int]
) -> list[int | None]:
    """Training examples of each class (`None`: all that are left), from the recipe, class sizes and reserved examples.

    A long tail, or a step, whose largest classes would need reserved examples starts from what is left of them:
    CIFAR-10 with 5,000 and 5 target examples a class starts at 4,995. Not where noise comes first: its sizes would
    vary with the draw. Raises DataError for a long tail or a step that a class has too few examples for.
    """
    if recipe["kind"] in ("groups", "all"):
        return [None] * len(pools)
    if recipe["kind"] == "two-class":
        return list(two_class_sizes(recipe["total"], recipe["imbalance_ratio"]))
    largest, width = recipe["largest_class"], len(pools)
    left = [pool - taken for pool, taken in zip(pools, reserved, strict=True)]
    full = heads(recipe, width)
    if largest <= min(pools[k] for k in full) and not comes_first(recipe):
        largest = min(largest, *(left[k] for k in full))
    sizes = class_sizes(recipe, largest, width)
    for name, size, most in zip(names, sizes, left, strict=True):
        if size > most:
            what = f"{name!r}, counted by noisy labels" if comes_first(recipe) else repr(name)
            raise DataError(
                f"split: {size} examples wanted as subsample of {what}, but only {most} can be had; ask for fewer: "
                f"largest_class can be at most {largest_that_fits(recipe, left)}"
            )
    return list(sizes)


def _with_tail(
    recipe: dict[str, Any],
    trains: list[np.ndarray],
    pools: list[np.ndarray],
    targets: list[np.ndarray],
    names: tuple[str, ...],
    pick: Callable[[str, int, int, np.ndarray, np.ndarray], np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The training examples of each class, and those of a validation part with a long tail of its own.

    It is drawn from what the training part leaves, so that this is the same however large the validation part is, and a
    smaller one is part of a larger; with `validation_inside` from the training part itself, which it then leaves.
    """
    sizes, inside = validation_tail(recipe, len(pools)), recipe.get("validation_inside", False)
    if (empty := held_out_all(recipe, [len(train) for train in trains], sizes)) is not None:
        raise ConfigError(
            f"validation_largest_class {recipe['validation_largest_class']} holds all {len(trains[empty])} examples of "
            f"{names[empty]!r} out; lower it"
        )
    validations = []
    for k, pool in enumerate(pools):
        barred = pool[~np.isin(pool, trains[k])] if inside else trains[k]
        validations.append(pick("validation", sizes[k], k, np.concatenate((targets[k], barred)), pool))
    if inside:
        trains = [train[~np.isin(train, held)] for train, held in zip(trains, validations, strict=True)]
    return trains, validations


def _test_size(recipe: dict[str, Any], pools: dict[str, int]) -> int | None:
    """Test examples of each class or group, `None` for all: the given total, else as many as the smallest one has.

    `pools`: the name of each -> its examples in the test part. Raises DataError where an even test set would be empty.
    """
    if recipe.get("test_size") is not None:
        return even_share(recipe["test_size"], len(pools), "test_size")
    if recipe.get("test", "balanced") == "all":
        return None
    if missing := [name for name, count in pools.items() if not count]:
        names = ", ".join(missing)
        raise DataError(f"the test part has no example of {names}, so an even test set would be empty; use test: all")
    return min(pools.values())


def _shuffled(pools: list[np.ndarray], generator: np.random.RandomState) -> list[np.ndarray]:
    """Each class shuffled, one after the other, by numpy's old generator with the bare seed.

    The first examples of each are then those that the public code of Cao et al. (2019) selects with `rand_number` =
    seed, and most code for long-tailed CIFAR after it. That of HAR (Cao et al., 2021) shuffles noisy classes so.
    """
    shuffled = [pool.copy() for pool in pools]
    for pool in shuffled:
        generator.shuffle(pool)
    return shuffled


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
        return Part(index.astype(np.int32), labels[index], groups[index])  # type: ignore[index]
    place = {value: k for k, value in enumerate(kept)}
    label = np.array([place[value] for value in labels[index].tolist()], np.int64)
    return Part(index.astype(np.int32), label, label)


def _weighed(split: Split, raw: RawData, by: str) -> Split:
    """The split with other groups than those it was drawn by: the classes that a model is shown, or the data set's."""
    if by == "class":
        named, groups = split.class_names, {name: getattr(split, name).label for name in PARTS}
    else:
        named, known = raw.group_names, dict.fromkeys(PARTS, raw.train_groups) | {"test": raw.test_groups}
        groups = {name: known[name][getattr(split, name).index] for name in PARTS}  # type: ignore[index]
    parts = {name: replace(getattr(split, name), group=group) for name, group in groups.items()}
    return replace(split, **parts, group_names=named)


def _with_noise(part: Part, inputs: Any, names: tuple[str, ...], recipe: dict[str, Any], seed: int) -> Part:
    """The part with noisy labels, drawn in the order of the file; the group is the label that a model is shown.

    `inputs` are those of the official training part; the kind that looks at them is drawn for all of it.
    """
    said = recipe["noise"]
    legacy = recipe.get("order") == "legacy"
    generator = np.random.RandomState(seed) if legacy else rng(seed, "noise", said["kind"])
    label = noisy(part.label, names, said, generator, inputs)
    return Part(part.index, label, label)


def _held_out(train: Part, target: Part, recipe: dict[str, Any], seed: int, kept: list[int]) -> tuple[Part, Part]:
    """The training part without `validation_share` of it, and that: a stratified draw, rounded down in each class.

    Classes (kind "groups": groups) are those that a model is shown. Noisy labels thus stay as noisy as those trained
    on: who tunes on a slice of noisy data has no clean ones. Every class keeps an example to train on; one of fewer
    than 1 / share examples gives none, unless `validation_rounding` is "up" and it has two. Target examples inside the
    training part stay there.
    """
    free = ~np.isin(train.index, target.index)
    moved = []
    for value, pool in zip(kept, members(train.group, range(len(kept))), strict=True):
        ordered = rng(seed, "validation-share", value).permutation(pool)
        size = part_of(len(pool), recipe["validation_share"], recipe.get("validation_rounding"))
        moved.append(_first(ordered[free[ordered]], size, f"validation_share of class {value}"))
    held = np.isin(np.arange(len(train)), np.concatenate(moved))
    left, taken = (Part(train.index[rows], train.label[rows], train.group[rows]) for rows in (~held, held))
    return left, taken
