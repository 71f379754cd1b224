"""CIFAR-100: 50,000 training and 10,000 test images of a hundred classes, 32 x 32 colours."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import pickled
from reweigh.errors import DataError


def read(raw: Path) -> RawData:
    """CIFAR-100 with its fine labels from `train`, `test` and `meta` in `raw`; inputs uint8 `(N, 3, 32, 32)`.

    Raises DataError if a file is missing or holds something else.
    """
    parts = {}  # type: ignore[var-annotated]
    for part in ("train", "test"):
        batch = pickled.load(raw_file(raw, part))
        labels = np.array(batch.get("fine_labels", ()), np.int64)
        if len(labels) == 0 or np.shape(batch.get("data")) != (len(labels), 3072):  # type: ignore[arg-type]
            raise DataError(f"{Path(raw) / part}: not a part of CIFAR-100; delete it and fetch it again")
        parts |= {f"{part}_inputs": batch["data"].reshape(-1, 3, 32, 32), f"{part}_labels": labels}
    return RawData(**parts, class_names=tuple(pickled.load(raw_file(raw, "meta"))["fine_label_names"]))
