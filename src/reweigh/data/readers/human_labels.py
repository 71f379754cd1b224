"""Labels that people gave to the training images of CIFAR (CIFAR-N; Wei et al., ICLR 2022)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import pickled
from reweigh.data.readers.damage import refused, whole_numbers
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
    if missing := [name for name in ("clean_label", known[labels]) if name not in arrays]:
        raise DataError(f"{path}: has no {missing[0]!r}; delete it and fetch it again")
    with refused(path, "a file of labels"):
        both = [np.asarray(arrays[name]) for name in ("clean_label", known[labels])]
        true, given = (whole_numbers(values.ravel().tolist(), path, below=len(images.class_names)) for values in both)
    if not np.array_equal(true, images.train_labels) or given.shape != true.shape:
        raise DataError(f"{path}: its true labels are not those of the images; delete it and fetch it again")
    return given
