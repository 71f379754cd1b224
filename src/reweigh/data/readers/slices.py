"""Slices of CIFAR that come with the project: some of its images, bit-exact, and a table of which they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import damage
from reweigh.errors import DataError


def raw_data(raw: Path, arrays: Sequence[str], classes: tuple[str, ...], sizes: tuple[int, int]) -> RawData:
    """The slice of `examples.csv` in `raw`, whose images are those of the `.npy` files `arrays`, one after another.

    A line of `examples.csv` has a `part`, the image's `index` in the official part, its `label`, and its `row` among
    the images, which may be left out where that is the number of the line. Row i of a part is the i-th of its lines.
    Inputs are uint8 `(N, 3, 32, 32)`; `sizes` are those of the training and the test part. Raises DataError if a file
    is missing or they do not fit together.
    """
    images = np.concatenate([damage.array(raw_file(raw, name), (3, 32, 32)) for name in arrays])
    path = raw_file(raw, "examples.csv")
    examples = damage.table(path, ("part", "index", "label"))
    labels = damage.whole_numbers([example["label"] for example in examples], path, below=len(classes))
    rows = damage.whole_numbers([example.get("row", place) for place, example in enumerate(examples)], path)
    count, all_used = len(images), len(rows) == len(images) or "row" in examples[0]
    if rows.min() < 0 or rows.max() >= count or not all_used:
        raise DataError(f"{raw}: {count} images but {len(examples)} examples; delete it and fetch it again")
    train = np.array([example["part"] == "train" for example in examples])
    if {example["part"] for example in examples} != {"train", "test"} or (train.sum(), (~train).sum()) != sizes:
        raise DataError(f"{path}: not {sizes[0]} training and {sizes[1]} test images; delete it and fetch it again")
    return RawData(
        images[rows[train]], labels[train], images[rows[~train]], labels[~train], class_names=classes, edition="slice"
    )
