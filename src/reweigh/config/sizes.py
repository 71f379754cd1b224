"""Sizes that can be had: what a split asks for, against what its data set has, before anything is read."""

import math
from typing import Any

from reweigh.errors import ConfigError

# Images a class in the official training part.
CLASS_SIZES = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "cifar10": [5000] * 10,
    "cifar10-slice": [205, 172, 145, 122, 220, 88, 74, 63, 53, 800],
    "cifar10-slice-large": [*[500] * 5, 140, *[120] * 4],
    "cifar100": [500] * 100,
    "cifar100-slice": [*[100] * 10, *[30] * 10],
}

# The same for the official test part.
TEST_SIZES = {
    "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "cifar10": [1000] * 10,
    "cifar10-slice": [40, 40, 40, 40, 200, 40, 40, 40, 40, 200],
    "cifar10-slice-large": [100] * 10,
    "cifar100": [100] * 100,
    "cifar100-slice": [15] * 20,
}

# Examples in the official training part, without incomplete rows, of data sets whose classes are not drawn.
TRAINING_ROWS = {
    "adult": 30162,
    "cifar10n": 50000,
    "cifar100n": 50000,
    "imagenet-lt": 115846,
    "places-lt": 62500,
    "inaturalist2018": 437513,
    "clothing1m": 1000000,
}

# Asymmetric noise that is defined for a data set's classes, see data/noise.py; symmetric noise is for all.
ASYMMETRIC = {
    **dict.fromkeys(("cifar10", "cifar10-slice", "cifar10-slice-large"), ("asymmetric", "asymmetric-ported")),
    **dict.fromkeys(("cifar100", "cifar100-slice"), ("asymmetric", "asymmetric-pairs")),
}


def check(data: dict[str, Any], where: str) -> None:
    """Raise ConfigError if the data set has not what the split asks for, or cannot be given its noise."""
    _check_noise(data, where)
    split, available = data["split"], CLASS_SIZES.get(data["dataset"])
    if split["order"] == "legacy" and split["kind"] in ("two-class", "groups"):
        raise ConfigError(f"{where}: order legacy does not go with kind {split['kind']}; use random")
    try:
        wanted = _drawn(data)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if available is None or not wanted:
        return
    # Draws are even over the classes; target images may be training images too where the config says so.
    reserved = math.ceil(_reserved(split) / len(wanted))
    for label, size in wanted.items():
        if label >= len(available):
            raise ConfigError(f"{where}: class {label} is not among the {len(available)} of {data['dataset']}")
        needed = max(size, 1) + reserved
        if needed > available[label]:
            have = f"{data['dataset']} has {available[label]}"
            raise ConfigError(
                f"{where}: class {label} needs {needed} images ({max(size, 1)} to train on), {have}; ask for fewer"
            )
    each = (split["test_size"] or 0) // len(wanted)
    for label in wanted:
        if each > (there := TEST_SIZES[data["dataset"]][label]):
            raise ConfigError(
                f"{where}: test_size asks for {each} images of class {label}, "
                f"{data['dataset']} has {there}; ask for fewer"
            )


def training_size(data: dict[str, Any]) -> int:
    """Examples that a spec's `data` block trains on; see `training_sizes`."""
    return sum(training_sizes(data))


def training_sizes(data: dict[str, Any]) -> list[int]:
    """Examples of each class that a spec's `data` block trains on; one entry where the classes are not known here.

    With noise and `validation_share` it may be a few off: the share is taken of each class of noisy labels.
    """
    from reweigh.data.groups import part_of

    split, drawn = data["split"], _drawn(data)
    total = TRAINING_ROWS.get(data["dataset"], 0)
    sizes = list(drawn.values()) or [max(total - _reserved(split), 1)]
    return [size - part_of(size, split.get("validation_share") or 0) for size in sizes]


def _drawn(data: dict[str, Any]) -> dict[int, int]:
    """Training images of each class (official label -> count) that a split draws; empty if they are not known.

    Raises ConfigError for a ratio that leaves a class without an image.
    """
    from reweigh.data import imbalance

    split, available = data["split"], CLASS_SIZES.get(data["dataset"])
    if split["kind"] == "two-class":
        sizes = imbalance.two_class_sizes(split["total"], split["imbalance_ratio"])
        return dict(zip(split["classes"], sizes, strict=True))
    if available is None or split["kind"] == "groups":
        return {}
    if split["kind"] == "all":
        reserved = math.ceil(_reserved(split) / len(available))
        return {label: size - reserved for label, size in enumerate(available)}
    asked = (split["largest_class"], split["imbalance_ratio"], len(available))
    if split["kind"] == "step":
        return dict(enumerate(imbalance.step_sizes(*asked)))
    exact = split.get("rounding") == "exact" or split["order"] == "legacy"
    return dict(enumerate(imbalance.long_tail_sizes(*asked, exact)))


def _reserved(split: dict[str, Any]) -> int:
    """Examples kept out of the training part before it is drawn."""
    return int(split["validation_size"] + (0 if split["target_inside"] else split["target_size"]))


def _check_noise(data: dict[str, Any], where: str) -> None:
    split = data["split"]
    if (noise := split.get("noise")) is None:
        return
    if split["kind"] == "groups":
        raise ConfigError(f"{where}: noise does not go with kind groups, whose groups are not the labels; use all")
    known = ("symmetric", *(ASYMMETRIC.get(data["dataset"], ()) if split["kind"] != "two-class" else ()))
    if noise["kind"] not in known:
        which = f"two classes of {data['dataset']}" if split["kind"] == "two-class" else data["dataset"]
        raise ConfigError(f"{where}: noise kind {noise['kind']} is not defined for {which}; use {' or '.join(known)}")
