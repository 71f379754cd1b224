"""Sizes of the data sets, which the config knows before anything is read; see `reweigh.config.sizes`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from reweigh.data import local_cards

# Images a class in the official training part.
CLASS_SIZES = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "cifar10": [5000] * 10,
    "cifar10-slice": [205, 172, 145, 122, 220, 88, 74, 63, 53, 800],
    "cifar10-slice-large": [*[500] * 5, 140, *[120] * 4],
    "cifar100": [500] * 100,
    "cifar100-slice": [*[100] * 10, *[30] * 10],
}

# Images of each given label in the training part where people gave the labels: data set -> option `labels` -> sizes.
# The first of each is the reader's own choice.
GIVEN_SIZES = {
    "cifar10n": {
        "worse": [5309, 6053, 5342, 4673, 4040, 5668, 4203, 5273, 4629, 4810],
        "aggregate": [5314, 5509, 5407, 4621, 4349, 4963, 4616, 5003, 5347, 4871],
        "random1": [5021, 5558, 5146, 4694, 4445, 5383, 4675, 5255, 4921, 4902],
        "random2": [5074, 5497, 5199, 4694, 4479, 5355, 4699, 5183, 4915, 4905],
        "random3": [5087, 5518, 5223, 4698, 4389, 5426, 4722, 5225, 4876, 4836],
    },
    "cifar10n-slice": {
        "worse": [410, 444, 472, 343, 330, 309, 175, 221, 179, 237],
        "aggregate": [517, 505, 524, 435, 420, 162, 115, 130, 165, 147],
        "random1": [463, 494, 488, 417, 412, 213, 146, 167, 148, 172],
        "random2": [465, 474, 493, 419, 414, 216, 147, 174, 149, 169],
        "random3": [461, 477, 498, 407, 410, 227, 148, 174, 152, 166],
    },
    "cifar100n": {
        "noisy": [
            572, 611, 484, 681, 299, 472, 441, 599, 440, 564, 408, 514, 308, 544, 458, 413, 392, 515, 413, 508,
            659, 572, 445, 744, 473, 391, 458, 386, 463, 335, 623, 489, 566, 732, 637, 451, 811, 670, 347, 475,
            496, 559, 349, 554, 501, 220, 865, 275, 509, 579, 732, 464, 658, 534, 469, 678, 485, 438, 662, 341,
            564, 569, 603, 199, 471, 455, 549, 361, 500, 673, 540, 601, 366, 501, 378, 312, 442, 443, 563, 391,
            451, 250, 581, 452, 476, 723, 508, 400, 470, 650, 432, 424, 433, 496, 459, 508, 483, 508, 619, 465,
        ],
    },
}  # fmt: skip

# The same for the official test part.
TEST_SIZES = {
    "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "cifar10": [1000] * 10,
    "cifar10-slice": [40, 40, 40, 40, 200, 40, 40, 40, 40, 200],
    "cifar10-slice-large": [100] * 10,
    "cifar100": [100] * 100,
    "cifar100-slice": [15] * 20,
    "cifar10n": [1000] * 10,
    "cifar10n-slice": [100] * 10,
    "cifar100n": [100] * 100,
}

# Examples in the official training part, without incomplete rows, of data sets whose classes are not drawn.
TRAINING_ROWS = {
    "adult": 30162,
    "waterbirds": 4795,
    "waterbirds-small": 4795,
    "waterbirds-images": 4795,
    "cifar10n": 50000,
    "cifar10n-slice": 3120,
    "cifar100n": 50000,
    "imagenet-lt": 115846,
    "places-lt": 62500,
    "inaturalist2018": 437513,
    "clothing1m": 1000000,
    "imagenet": 1281167,
    "fgvc-aircraft": 6667,
    "stanford-cars": 8144,
    "oxford-iiit-pet": 3680,
    "diabetic-retinopathy": 35126,
    "camelyon17": 302436,
    "iwildcam": 129809,
}

# Their classes, which test and held-out parts are shared over.
CLASSES = {
    "adult": 2,
    "waterbirds": 2,
    "waterbirds-small": 2,
    "waterbirds-images": 2,
    "cifar10n": 10,
    "cifar10n-slice": 10,
    "cifar100n": 100,
    "imagenet-lt": 1000,
    "places-lt": 365,
    "inaturalist2018": 8142,
    "clothing1m": 14,
    "imagenet": 1000,
    "imagenet-100": 100,
    "fgvc-aircraft": 100,
    "stanford-cars": 196,
    "oxford-iiit-pet": 37,
    "diabetic-retinopathy": 2,
    "camelyon17": 2,
    "iwildcam": 182,
}

# Examples of each group in the official training part and in the test part, without incomplete rows.
GROUP_SIZES = {
    "adult": ([9782, 20380], [4913, 10147]),
    **dict.fromkeys(
        ("waterbirds", "waterbirds-small", "waterbirds-images"), ([3498, 184, 56, 1057], [2255, 2255, 642, 642])
    ),
}

# Data sets whose images, in memory, can decide what noise makes of their labels.
INSTANCE = ("mnist", "cifar10", "cifar10-slice", "cifar10-slice-large", "cifar100", "cifar100-slice")

# Asymmetric noise that is defined for a data set's classes, see data/noise.py; symmetric, agnostic and heteroskedastic
# noise is for all.
ASYMMETRIC = {
    **dict.fromkeys(("cifar10", "cifar10-slice", "cifar10-slice-large"), ("asymmetric", "asymmetric-ported")),
    **dict.fromkeys(("cifar100", "cifar100-slice"), ("asymmetric", "asymmetric-pairs")),
}


class Sizes(NamedTuple):
    """What is known of a data set before it is read; None where that is not known.

    `labels`: examples of each label in the official training part; `test`: of each class in the test part, empty if not
    known; `rows`: all training examples, where their classes are not drawn; `classes`: how many there are; `groups`:
    examples of each group in the training and the test part.
    """

    labels: list[int] | None
    test: list[int]
    rows: int | None
    classes: int | None
    groups: tuple[list[int], list[int]] | None


def sizes_of(data: Mapping[str, Any]) -> Sizes:
    """What is known of the data set of a spec's `data` block: from the tables above, or of local data from their card.

    Raises DataError if local data have no card, or another than the block says.
    """
    name, options = data["dataset"], data.get("options") or {}
    if local_cards.is_local(name):
        return _of_card(local_cards.of(options))
    given = GIVEN_SIZES.get(name)
    labels = CLASS_SIZES.get(name) if given is None else given.get(options.get("labels", next(iter(given))))
    classes = CLASSES.get(name) if labels is None else len(labels)
    return Sizes(labels, TEST_SIZES.get(name, []), TRAINING_ROWS.get(name), classes, GROUP_SIZES.get(name))


def _of_card(card: Mapping[str, Any]) -> Sizes:
    train, test = card["sizes"]["train"], card["sizes"]["test"]
    groups = None if card["group"] is None else (train["groups"], test["groups"])
    return Sizes(train["classes"], test["classes"], train["rows"], len(train["classes"]), groups)


def has_no_groups(dataset: str) -> bool:
    """Whether a data set is known to have no groups of its own."""
    return dataset in CLASS_SIZES or dataset in GIVEN_SIZES


def labelled(data: Mapping[str, Any]) -> list[int] | None:
    """Examples of each label in the official training part of a spec's `data` block; None if they are not known."""
    return sizes_of(data).labels


def called(data: Mapping[str, Any]) -> str:
    """What a message calls the data set of a spec's `data` block: its name, or of local data that of their card."""
    local = local_cards.is_local(data["dataset"])
    return str((data.get("options") or {}).get("card", data["dataset"]) if local else data["dataset"])
