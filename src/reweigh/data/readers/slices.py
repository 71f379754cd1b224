"""Slices of CIFAR that come with the project: some of its images, bit-exact, and a table of which they are."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.errors import DataError


def raw_data(raw: Path, arrays: Sequence[str], classes: tuple[str, ...]) -> RawData:
    """The slice of `examples.csv` in `raw`, whose images are those of the `.npy` files `arrays`, one after another.

    A line of `examples.csv` has a `part`, the image's `index` in the official part, its `label`, and its `row` among
    the images, which may be left out where that is the number of the line. Row i of a part is the i-th of its lines.
    Inputs are uint8 `(N, 3, 32, 32)`. Raises DataError if a file is missing or they do not fit together.
    """
    parts = [np.load(raw_file(raw, name), allow_pickle=False) for name in arrays]
    with open(raw_file(raw, "examples.csv"), newline="") as file:
        examples = list(csv.DictReader(file))
    rows = np.array([int(example.get("row", place)) for place, example in enumerate(examples)], np.int64)
    count, shapes = sum(map(len, parts)), {part.shape[1:] for part in parts}
    all_used = len(rows) == count or (examples and "row" in examples[0])
    if shapes != {(3, 32, 32)} or rows.max(initial=0) >= count or not all_used:
        raise DataError(f"{raw}: {count} images but {len(examples)} examples; delete it and fetch it again")
    images = np.concatenate(parts)
    labels = np.array([int(example["label"]) for example in examples], np.int64)
    train = np.array([example["part"] == "train" for example in examples])
    return RawData(
        images[rows[train]], labels[train], images[rows[~train]], labels[~train], class_names=classes, edition="slice"
    )
