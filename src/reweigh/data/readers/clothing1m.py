"""Clothing1M: a million web pictures of 14 classes of clothes, with noisy labels; 10,526 test images are clean."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists
from reweigh.errors import DataError

CLASSES = (
    "T-shirt",
    "shirt",
    "knitwear",
    "chiffon",
    "sweater",
    "hoodie",
    "windbreaker",
    "jacket",
    "down coat",
    "suit",
    "shawl",
    "dress",
    "vest",
    "underwear",
)


def read(raw: Path, side: int = 224, resize: int | None = None, train: str = "noisy", test: str = "test") -> RawData:
    """Images by the key lists in `raw`, which name `images/..` below it; labels by `noisy_` and `clean_label_kv.txt`.

    `train` is "noisy" (a million images) or "clean" (47,570 others); `test` is "test" or "val" (14,313), both clean.
    `side` and `resize` are those of `ImageFiles`. Raises DataError if a list is missing or an image has no label.
    """
    lists.one_of("train", train, ("noisy", "clean"))
    lists.one_of("test", test, ("test", "val"))
    trained = _listed(raw, f"{train}_train_key_list.txt", f"{train}_label_kv.txt")
    tested = _listed(raw, f"clean_{test}_key_list.txt", "clean_label_kv.txt")
    return lists.raw_data(Path(raw), trained, tested, (CLASSES, ()), side, resize)


def _listed(raw: Path, keys: str, labels: str) -> lists.Listed:
    """The images of a key list, in its order, with their labels from a file of `key label` lines."""
    known = lists.labelled_paths(raw_file(raw, labels))
    label_of = dict(zip(known.paths, known.labels.tolist(), strict=True))
    paths = lists.lines(raw_file(raw, keys))
    try:
        return lists.Listed(paths, np.array([label_of[path] for path in paths], np.int64))
    except KeyError as error:
        raise DataError(f"{Path(raw) / labels}: has no label for {error}, which {keys} lists; get both again") from None
