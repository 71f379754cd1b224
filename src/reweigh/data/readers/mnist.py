"""MNIST: 60,000 training and 10,000 test images of digits, 28 x 28 grey levels, in the idx format."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.errors import DataError


def read(raw: Path) -> RawData:
    """MNIST from its four idx files (not compressed) in `raw`; inputs uint8 `(N, 1, 28, 28)`.

    Raises DataError if a file is missing or is not idx data of that kind.
    """
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        parts[f"{part}_inputs"] = _idx(raw_file(raw, f"{prefix}-images-idx3-ubyte"), dimensions=3)[:, None]
        parts[f"{part}_labels"] = _idx(raw_file(raw, f"{prefix}-labels-idx1-ubyte"), dimensions=1).astype(np.int64)
    return RawData(**parts, class_names=tuple(str(digit) for digit in range(10)))  # type: ignore[arg-type]


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes: two zeros, type 8, number of dimensions, their big-endian sizes, the values."""
    content = path.read_bytes()
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * dimensions], ">u4").tolist())
    values = content[4 + 4 * dimensions :]
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(values) != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: not an idx file of {dimensions}-dimensional bytes; delete it and fetch it again")
    return np.frombuffer(values, np.uint8).reshape(shape)
