"""Labels that people gave to the training images of CIFAR (CIFAR-N; Wei et al., ICLR 2022)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import pickled
from reweigh.data.readers.damage import refused, table, whole_numbers
from reweigh.errors import ConfigError, DataError


def load(raw: Path, file: str, known: Mapping[str, str], labels: str, images: RawData) -> np.ndarray:
    """The labels called `known[labels]` in `raw/file`, int64 `(N,)`, in the order of the training images.

    The file is as `torch.save` wrote it, or a table (`.csv`) with a line for each image. It states the true labels too:
    they must be those of `images`, else order or images are not what the people saw. Raises ConfigError for labels that
    are not known, DataError for a file that is missing or does not fit.
    """
    if labels not in known:
        raise ConfigError(f"reader option labels {labels!r} is unknown; known: {', '.join(known)}")
    path, columns = raw_file(raw, file), ("clean_label", known[labels])
    read = _columns if path.suffix == ".csv" else _saved
    true, given = (whole_numbers(values, path, below=len(images.class_names)) for values in read(path, columns))
    if not np.array_equal(true, images.train_labels) or given.shape != true.shape:
        raise DataError(f"{path}: its true labels are not those of the images; delete it and fetch it again")
    return given


def _saved(path: Path, names: Sequence[str]) -> list[list[Any]]:
    arrays = pickled.load_saved(path)
    if missing := [name for name in names if name not in arrays]:
        raise DataError(f"{path}: has no {missing[0]!r}; delete it and fetch it again")
    with refused(path, "a file of labels"):
        return [np.asarray(arrays[name]).ravel().tolist() for name in names]


def _columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    lines = table(path, names)
    return [[line[name] for line in lines] for name in names]
