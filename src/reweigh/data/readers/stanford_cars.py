"""Stanford Cars (Krause et al., 2013): 196 models of cars, 8,144 photographs to train on and 8,041 to test."""

from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import damage, lists
from reweigh.errors import DataError

LABELLED = "cars_test_annos_withlabels.mat"  # published beside the kit, whose own list of test images has no labels


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Photographs in `cars_train` and `cars_test` of `raw`, by the MATLAB files of `devkit` and the labelled test list.

    That list, `cars_test_annos_withlabels.mat`, may lie in `raw` or in `devkit`. `side` and `resize` are those of
    `ImageFiles`. Raises DataError if a file is missing or not unpacked, or holds something else.
    """
    paths = [
        lists.unpacked(raw, "devkit/cars_meta.mat", "car_devkit.tgz"),
        lists.unpacked(raw, "devkit/cars_train_annos.mat", "car_devkit.tgz"),
        lists.unpacked(raw, LABELLED, "car_devkit.tgz", "devkit"),
    ]
    names = [_text(name, paths[0]) for name in _matlab(paths[0], "class_names")]
    train, test = (
        _listed(path, folder, len(names)) for path, folder in zip(paths[1:], ("cars_train", "cars_test"), strict=True)
    )
    return lists.raw_data(Path(raw), train, test, (names, ()), side, resize)


def _listed(path: Path, folder: str, classes: int) -> lists.Listed:
    """The photographs of a list of annotations, with labels counted from 0."""
    rows = _matlab(path, "annotations")
    with damage.refused(path, "a list of annotations with `class` and `fname`", lists.AGAIN):
        files, counted = rows["fname"].tolist(), rows["class"].tolist()
    labels = damage.whole_numbers(counted, path, classes + 1, lists.AGAIN) - 1  # counted from 1 in the file
    return lists.Listed([f"{folder}/{_text(file, path)}" for file in files], labels)


def _matlab(path: Path, variable: str) -> np.ndarray:
    """A variable of a MATLAB file, one row or value after the other."""
    from scipy import io  # no other data set needs it

    with damage.refused(path, f"a MATLAB file with {variable}", lists.AGAIN):
        content: dict[str, Any] = io.loadmat(str(path), squeeze_me=True, variable_names=[variable])
        values = np.atleast_1d(content[variable])
        if values.ndim != 1 or not len(values):
            raise ValueError(f"it has {variable} of the shape {values.shape}")
    return values


def _text(value: Any, path: Path) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise DataError(f"{path}: has {str(value)[:40]!r} where a name should be; {lists.AGAIN}")
    return str(value)
