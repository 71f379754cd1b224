"""Lists of image files: the forms in which large data sets say which file is of which class.

A reader reads its lists with these functions; `raw_data` puts two of them together. Where the images are, is checked
when a run needs them, so that a split can be drawn from the lists alone.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.files import ImageFiles
from reweigh.data.readers import damage
from reweigh.errors import ConfigError, DataError
from reweigh.listing import is_leftover_name

AGAIN = "get this file again"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm")


@dataclass(frozen=True)
class Listed:
    """Image files in the order of their list: paths, labels int64 (N,), and groups int64 (N,) where there are any."""

    paths: list[str]
    labels: np.ndarray
    groups: np.ndarray | None = None


def raw_data(
    root: Path,
    train: Listed,
    test: Listed,
    names: tuple[Sequence[str], Sequence[str]],
    side: int,
    resize: int | None,
) -> RawData:
    """A data set whose images, below `root`, stay on disk; `names` are those of its classes and of its groups.

    `side` and `resize` are those of `ImageFiles`. Raises DataError for an empty list, or a label or group without name.
    """
    for part, listed in (("training", train), ("test", test)):
        for what, values, known in (("class", listed.labels, names[0]), ("group", listed.groups, names[1])):
            if values is not None and (not len(values) or values.min() < 0 or values.max() >= len(known)):
                raise DataError(
                    f"{root}: the {part} list is empty or names a {what} that is not one of {len(known)}; get it again"
                )
    with damage.refused(root, "a folder with lists of file names", "get the lists again"):
        inputs = [ImageFiles(root, listed.paths, side, resize) for listed in (train, test)]
    return RawData(
        train_inputs=inputs[0],
        train_labels=train.labels,
        train_groups=train.groups,
        test_inputs=inputs[1],
        test_labels=test.labels,
        test_groups=test.groups,
        class_names=tuple(names[0]),
        group_names=tuple(names[1]),
    )


def labelled_paths(path: Path) -> Listed:
    """A list with one `path label` a line. Raises DataError that names the first line that is something else."""
    paths, labels = [], []
    for number, line in enumerate(_text(path).splitlines() or [""], 1):
        name, _, label = line.rstrip().rpartition(" ")
        if not name or not label.isdecimal():
            raise DataError(f"{path}, line {number}: not `path label`; get this list again")
        paths.append(name)
        labels.append(label)
    return Listed(paths, whole_numbers(labels, path))


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def directory_names(*lists: Listed) -> tuple[str, ...]:
    """The directory of each class, without the first one of the path: `train/n01440764/x.JPEG` -> `n01440764`.

    Raises DataError if a class lies in two directories or a directory holds two classes.
    """
    names: dict[int, str] = {}
    for listed in lists:
        for path, label in zip(listed.paths, listed.labels.tolist(), strict=True):
            name = path.split("/", 1)[-1].rpartition("/")[0]
            if names.setdefault(label, name) != name:
                raise DataError(f"{path}: class {label} is {names[label]!r} elsewhere; the lists do not fit together")
    directories = set(names.values())
    if len(directories) != len(names) or set(names) != set(range(len(names))):
        raise DataError(f"the lists name {len(names)} classes in {len(directories)} directories; get them again")
    return tuple(names[label] for label in range(len(names)))


def table(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The named columns of a CSV file with a header. Raises DataError if it has not got them all in every row."""
    rows = damage.table(path, columns, AGAIN)
    return {column: [row[column] for row in rows] for column in columns}


def whole_numbers(values: Sequence[str], path: Path, below: int | None = None) -> np.ndarray:
    """A column as int64, less than `below` if it is given. Raises DataError naming the file for anything else."""
    return damage.whole_numbers(values, path, below, AGAIN)


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises DataError if it holds something else."""
    with damage.refused(path, "JSON", AGAIN):
        body = json.loads(_text(path))
    if not isinstance(body, dict):
        raise DataError(f"{path}: not a JSON object; get this file again")
    return body


def folder(root: Path, part: str, classes: Sequence[str]) -> Listed:
    """The images in `root/part/CLASS/`, class by class and sorted by name, so that their order is everyone's.

    Raises DataError for a class without a directory or without an image.
    """
    paths, labels = [], []
    for label, name in enumerate(classes):
        directory = root / part / name
        images = sorted(file.name for file in _visible(directory) if file.name.lower().endswith(IMAGE_SUFFIXES))
        if not images:
            raise DataError(f"{directory} has no images; unpack the data set so that each class has such a directory")
        paths += [f"{part}/{name}/{image}" for image in images]
        labels += [label] * len(images)
    return Listed(paths, np.array(labels, np.int64))


def subfolders(directory: Path) -> tuple[str, ...]:
    """The directories in a directory, sorted by name: the classes of an image folder."""
    return tuple(sorted(entry.name for entry in _visible(directory) if entry.is_dir()))


def _visible(directory: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a directory, without what operating systems and editors leave there; nothing if it is absent."""
    if directory.is_dir():
        with os.scandir(directory) as entries:
            yield from (entry for entry in entries if not is_leftover_name(entry.name))


def unpacked(raw: Path, name: str, archive: str, directory: str = ".") -> Path:
    """The file `name` that was unpacked into `raw`, or into its `directory` as some do.

    Raises DataError with the command to unpack it if the archive is there, or to get it if it is not.
    """
    raw = Path(raw)
    for place in (raw, raw / directory):
        if (place / name).is_file():
            return place / name
    if (raw / archive).is_file():
        raise DataError(f"{raw / name} is missing; unpack it: tar -xf {raw / archive} -C {raw}")
    return raw_file(raw, name)


def one_of(what: str, said: str, known: Sequence[str]) -> str:
    """A word that a reader's option takes. Raises ConfigError for another one."""
    if said not in known:
        raise ConfigError(f"reader option {what} {said!r} is unknown; known: {', '.join(known)}")
    return said


def _text(path: Path) -> str:
    return damage.text(path, AGAIN)
