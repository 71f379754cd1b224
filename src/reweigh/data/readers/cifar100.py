"""CIFAR-100: 50,000 training and 10,000 test images of a hundred classes, 32 x 32 colours."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import pickled
from reweigh.errors import DataError

SIZES = {"train": 50_000, "test": 10_000}
CLASSES = 100


def read(raw: Path) -> RawData:
    """CIFAR-100 with its fine labels from `train`, `test` and `meta` in `raw`; inputs uint8 `(N, 3, 32, 32)`.

    Raises DataError if a file is missing or holds something else.
    """
    meta = raw_file(raw, "meta")
    names = pickled.load(meta).get("fine_label_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != CLASSES:
        raise DataError(f"{meta}: not the names of {CLASSES} classes; delete it and fetch it again")
    (train, train_labels), (test, test_labels) = (_part(raw_file(raw, part), size) for part, size in SIZES.items())
    return RawData(train, train_labels, test, test_labels, class_names=tuple(names))


def _part(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = pickled.images(path, "fine_labels", CLASSES)
    if len(labels) != size:
        raise DataError(
            f"{path}: has {len(labels)} images, this part of CIFAR-100 {size}; delete it and fetch it again"
        )
    return images, labels
