"""Diabetic retinopathy: fundus photographs of the Kaggle contest of 2015 (EyePACS, USA), and of APTOS 2019 (India).

Grades 0 and 1 are class 0, grades 2 to 4 class 1. Parts are those of the RETINA benchmark (Band et al., NeurIPS 2021):
train 35,126; of the contest's test photographs, those that the public score was made of are val (10,906), the others
test (42,670). Photographs of APTOS are of another country: its first 2,929 are aptos, the last 733 aptos-val.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists
from reweigh.errors import DataError

GRADES, REFERABLE = 5, 2  # the lowest grade of class 1
CLASSES = ("no or mild retinopathy", "moderate or worse retinopathy")
USAGE = {"test": "Private", "val": "Public"}
APTOS = "aptos2019-blindness-detection"
APTOS_TEST = 2929  # rows


def read(raw: Path, side: int = 224, resize: int | None = None, test: str = "test") -> RawData:
    """`train/` by `trainLabels.csv` in `raw`; tested on `test/` by `retinopathy_solution.csv`, or on APTOS.

    `test` is "test", "val", "aptos" or "aptos-val". Lists and images of APTOS, `train.csv` and `train_images/`, are in
    `aptos2019-blindness-detection`. `side` and `resize` are those of `ImageFiles`. Raises DataError for a missing list.
    """
    lists.one_of("test", test, (*USAGE, "aptos", "aptos-val"))
    trained = _listed(raw_file(raw, "trainLabels.csv"), ("image", "level"), "train/{}.jpeg")
    tested = _of_aptos(raw, test) if test.startswith("aptos") else _of_the_contest(raw, test)
    return lists.raw_data(Path(raw), trained, tested, (CLASSES, ()), side, resize)


def _of_the_contest(raw: Path, part: str) -> lists.Listed:
    path = raw_file(raw, "retinopathy_solution.csv")
    used = lists.table(path, ("Usage",))["Usage"]
    if unknown := set(used) - set(USAGE.values()):
        raise DataError(f"{path}: Usage {min(unknown)!r} is none of {', '.join(USAGE.values())}; {lists.AGAIN}")
    kept = [row for row, said in enumerate(used) if said == USAGE[part]]
    return _some(_listed(path, ("image", "level"), "test/{}.jpeg"), kept)


def _of_aptos(raw: Path, part: str) -> lists.Listed:
    path = raw_file(raw, f"{APTOS}/train.csv")
    listed = _listed(path, ("id_code", "diagnosis"), f"{APTOS}/train_images/{{}}.png")
    rows = range(len(listed.paths))
    return _some(listed, rows[:APTOS_TEST] if part == "aptos" else rows[APTOS_TEST:])


def _listed(path: Path, columns: tuple[str, str], name: str) -> lists.Listed:
    """The photographs of a table of names and grades."""
    rows = lists.table(path, columns)
    grades = lists.whole_numbers(rows[columns[1]], path, GRADES)
    return lists.Listed([name.format(image) for image in rows[columns[0]]], (grades >= REFERABLE).astype(np.int64))


def _some(listed: lists.Listed, rows: Sequence[int]) -> lists.Listed:
    return lists.Listed([listed.paths[row] for row in rows], listed.labels[list(rows)])
