"""Labels that people gave to the training images of CIFAR (CIFAR-N; Wei et al., ICLR 2022)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import pickled
from reweigh.errors import ConfigError, DataError


def load(raw: Path, file: str, known: Mapping[str, str], labels: str, images: RawData) -> np.ndarray:
    """The labels called `known[labels]` in `raw/file`, int64 `(N,)`, in the order of the training images.

    The file states the true labels too: they must be those of `images`, else order or images are not what the people
    saw. Raises ConfigError for labels that are not known, DataError for a file that is missing or does not fit.
    """
    if labels not in known:
        raise ConfigError(f"reader option labels {labels!r} is unknown; known: {', '.join(known)}")
    path = raw_file(raw, file)
    arrays = pickled.load_saved(path)
    try:
        true, given = (np.asarray(arrays[name]).astype(np.int64) for name in ("clean_label", known[labels]))
    except KeyError as error:
        raise DataError(f"{path}: has no {error}; delete it and fetch it again") from None
    if not np.array_equal(true, images.train_labels) or given.shape != true.shape:
        raise DataError(f"{path}: its true labels are not those of the images; delete it and fetch it again")
    if given.min() < 0 or given.max() >= len(images.class_names):
        raise DataError(f"{path}: names a class that is not one of {len(images.class_names)}; fetch it again")
    return given
