"""Waterbirds as pictures, from the official archive, unpacked where it lies; `waterbirds` has features of them."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists, waterbirds

FOLDER = "waterbird_complete95_forest2water2"
ARCHIVE = f"{FOLDER}.tar.gz"


def read(raw: Path, side: int = 224, resize: int | None = None, official_validation: bool = False) -> RawData:
    """Pictures by `metadata.csv` in `raw`, or in the folder that the archive makes; row order is that of the file.

    `side` and `resize` are those of `ImageFiles`, `official_validation`, labels and groups those of `waterbirds`.
    Raises DataError if the archive is not unpacked.
    """
    path = lists.unpacked(raw, waterbirds.METADATA, ARCHIVE, FOLDER)
    rows = waterbirds.metadata(path)
    listed = []
    for part in ("train", "validation" if official_validation else "test"):
        kept = np.flatnonzero(rows.parts == waterbirds.PARTS.index(part))
        listed.append(lists.Listed([rows.files[k] for k in kept], rows.birds[kept], rows.cells[kept]))
    names = (waterbirds.CLASSES, waterbirds.CELLS)
    return lists.raw_data(path.parent, *listed, names, side, resize)  # type: ignore[arg-type, call-arg]
