"""Waterbirds as 256 numbers a picture, small enough to come with the project; see `reweigh.data.readers.waterbirds`.

They are the first principal components of the stand-in's features, fitted on the training rows, in 8-bit codes.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import damage, waterbirds

EDITION = "efficientnet-lite0-256"
CODES, ABOUT = "codes.npz", "features.json"
WIDTH = 256
# What `codes.npz` holds: of each array the shape of a row and the type.
ARRAYS = {
    "codes": ((WIDTH,), "|u1"),
    "scale": ((), "<f4"),
    "offset": ((), "<f4"),
    "y": ((), "|u1"),
    "place": ((), "|u1"),
    "split": ((), "|u1"),
}


def read(raw: Path, official_validation: bool = False) -> RawData:
    """Waterbirds from `codes.npz` in `raw`; inputs float32 (N, 256), code · scale + offset.

    `official_validation` is that of `waterbirds`. Raises DataError for a missing or damaged file.
    """
    path = raw_file(raw, CODES)
    arrays = damage.arrays(path, ARRAYS)
    waterbirds.check_digests(raw_file(raw, ABOUT), {name: array.tobytes() for name, array in arrays.items()})
    birds, places, parts = (
        damage.whole_numbers(arrays[name].tolist(), path, below=below)
        for name, below in (("y", len(waterbirds.CLASSES)), ("place", len(waterbirds.PLACES)), ("split", 3))
    )
    with damage.refused(path, "codes of Waterbirds with a scale and an offset for each number"):
        rows = waterbirds.Metadata([], birds, places, parts)
        waterbirds.check_sizes(path, rows)
        features = arrays["codes"] * arrays["scale"] + arrays["offset"]
    return waterbirds.raw_data(path, features.astype(np.float32), rows, EDITION, official_validation)
