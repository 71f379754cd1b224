"""Camelyon17-WILDS 1.0: does the middle of a patch of lymph node hold tumour tissue? Groups are five hospitals.

The official parts: train 302,436 patches and id_val 33,560 of three hospitals, val 34,904 of a fourth, test 85,054 of a
fifth.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists

PARTS = ("train", "id_val", "test", "val")
HOSPITALS = 5
VALIDATION_HOSPITAL, TEST_HOSPITAL = 1, 2  # counted from 0


def read(raw: Path, side: int = 96, resize: int | None = None, test: str = "test") -> RawData:
    """Patches (96 x 96 pixels) by `metadata.csv` in `raw`, or in its `camelyon17_v1.0`; row order is that of the file.

    `test` is the official part that is tested on: "test", "val" (another hospital) or "id_val" (those of training).
    Patches are taken whole, so `resize` is `side` unless given. Raises DataError if the archive is not unpacked.
    """
    lists.one_of("test", test, PARTS[1:])
    path = lists.unpacked(raw, "metadata.csv", "camelyon17_v1.0.tar.gz", "camelyon17_v1.0")
    rows = lists.table(path, ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split"))
    known = (("tumor", 2), ("center", HOSPITALS), ("split", len(PARTS)))
    labels, hospitals, parts = (lists.whole_numbers(rows[name], path, below) for name, below in known)
    # The file tells training from id_val only; the two other parts are hospitals (Koh et al. 2021).
    parts = np.where(hospitals == TEST_HOSPITAL, PARTS.index("test"), parts)
    parts = np.where(hospitals == VALIDATION_HOSPITAL, PARTS.index("val"), parts)
    paths = [
        f"patches/patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}_x_{x}_y_{y}.png"
        for patient, node, x, y in zip(*(rows[name] for name in ("patient", "node", "x_coord", "y_coord")), strict=True)
    ]
    listed = []
    for part in ("train", test):
        kept = np.flatnonzero(parts == PARTS.index(part))
        listed.append(lists.Listed([paths[k] for k in kept], labels[kept], hospitals[kept]))
    names = (("no tumour", "tumour"), [f"hospital {k}" for k in range(HOSPITALS)])
    return lists.raw_data(path.parent, *listed, names, side, side if resize is None else resize)  # type: ignore[arg-type, call-arg]
