"""FGVC-Aircraft 2013b (Maji et al., 2013): 10,000 photographs of 100 variants of aircraft, in three official parts.

They are train 3,334, val 3,333 and test 3,333; the first two, 6,667, are the training part here. The strip with the
copyright notice, the lowest 20 pixels of each photograph, stays on, as in torchvision.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import DataError

FOLDER = "fgvc-aircraft-2013b"


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Photographs by `data/images_variant_trainval.txt` and `.._test.txt` in `raw`, or in its `fgvc-aircraft-2013b`.

    Classes are variants, in the order of `data/variants.txt`. `side` and `resize` are those of `ImageFiles`. Raises
    DataError if the archive is not unpacked.
    """
    path = lists.unpacked(raw, "data/variants.txt", f"{FOLDER}.tar.gz", FOLDER)
    variants = lists.lines(path)
    if len(set(variants)) != len(variants):
        raise DataError(f"{path}: names a variant twice; {lists.AGAIN}")
    label_of = {variant: label for label, variant in enumerate(variants)}
    train, test = (_listed(path.parent / f"images_variant_{part}.txt", label_of) for part in ("trainval", "test"))
    return lists.raw_data(path.parent, train, test, (variants, ()), side, resize)


def _listed(path: Path, label_of: dict[str, int]) -> lists.Listed:
    """A list with one `number variant` a line; a variant's name may have spaces in it."""
    rows = [line.split(" ", 1) for line in lists.lines(path)]
    if wrong := [row for row in rows if row[-1] not in label_of or len(row) < 2]:
        raise DataError(f"{path}: {' '.join(wrong[0])!r} names no known variant; {lists.AGAIN}")
    labels = np.array([label_of[variant] for _, variant in rows], np.int64)
    return lists.Listed([f"images/{number}.jpg" for number, _ in rows], labels)
