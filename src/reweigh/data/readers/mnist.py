"""MNIST: 60,000 training and 10,000 test images of digits, 28 x 28 grey levels, in the idx format."""

import math
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.errors import DataError

SIZES = {"train": 60_000, "t10k": 10_000}
SIDE, CLASSES = 28, 10
VALIDATION = 10_000  # the last training images, which are held out where options are chosen


def read(raw: Path, official_validation: bool = False) -> RawData:
    """MNIST from its four idx files (not compressed) in `raw`; inputs uint8 `(N, 1, 28, 28)`.

    `official_validation` measures on the last 10,000 training images instead of the test images, and trains on the
    50,000 before them: by them options are chosen. Raises DataError if a file is missing or is not idx data of that
    kind.
    """
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        size = SIZES[prefix]
        labels = raw_file(raw, f"{prefix}-labels-idx1-ubyte")
        parts[f"{part}_inputs"] = _idx(raw_file(raw, f"{prefix}-images-idx3-ubyte"), (size, SIDE, SIDE))[:, None]
        parts[f"{part}_labels"] = _idx(labels, (size,)).astype(np.int64)
        if parts[f"{part}_labels"].max() >= CLASSES:
            raise DataError(f"{labels}: has a label that is no digit; delete it and fetch it again")
    if official_validation:
        for what in ("inputs", "labels"):
            whole = parts[f"train_{what}"]
            parts[f"train_{what}"], parts[f"test_{what}"] = whole[:-VALIDATION], whole[-VALIDATION:]
    return RawData(**parts, class_names=tuple(str(digit) for digit in range(CLASSES)))  # type: ignore[arg-type]


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An idx file of unsigned bytes: two zeros, type 8, number of dimensions, their big-endian sizes, the values."""
    content = path.read_bytes()
    header = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
    if not content.startswith(header) or len(content) != len(header) + math.prod(shape):
        raise DataError(f"{path}: not an idx file of {' x '.join(map(str, shape))} bytes; delete it and fetch it again")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
