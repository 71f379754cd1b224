"""Adult (UCI census income): does a person earn more than 50,000 dollars a year? Groups are the sexes.

Rows with a missing value are dropped: 30,162 training rows (20,380 men, 9,782 women) and 15,060 test rows stay.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import damage
from reweigh.errors import DataError

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
CONTINUOUS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
CATEGORICAL = (
    "workclass",
    "education",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native-country",
)
SEXES = ("Female", "Male")
INCOMES = ("<=50K", ">50K")
CELLS = tuple(f"{sex.lower()}, {income}" for income in INCOMES for sex in SEXES)
CATEGORIES = (7, 16, 7, 14, 6, 5, 2, 41)  # of each categorical column in the complete training rows
ROWS = {"adult.data": 30_162, "adult.test": 15_060}  # complete ones
VALIDATION = 6_032  # the last training rows, a fifth, which are held out where options are chosen


def read(raw: Path, drop_sex: bool = False, cells: bool = False, official_validation: bool = False) -> RawData:
    """Adult from `adult.data` and `adult.test` in `raw`; inputs float32 `(N, 104)`, `(N, 102)` with `drop_sex`.

    Columns: six continuous ones, standardised by the training rows, then eight categorical ones as one-hot (98), whose
    categories are those of the training rows in alphabetical order. Row i is row i of the cleaned file.
    Labels: 0 = at most 50K, 1 = more. Groups: 0 = female, 1 = male; with `cells` the four of income and sex, cell =
    2 · income + sex. `official_validation` measures on the last 6,032 training rows instead of the test rows: by them
    options are chosen. Raises DataError for a missing or malformed file.
    """
    train, test = (_rows(raw_file(raw, name)) for name in ("adult.data", "adult.test"))
    used = [name for name in CATEGORICAL if not (drop_sex and name == "sex")]
    categories = {name: np.unique(train[name]) for name in used}
    for name, count in zip(CATEGORICAL, CATEGORIES, strict=True):
        known = set(train[name])
        if len(known) != count or not known.issuperset(test[name]):
            raise DataError(f"{raw}: not the {count} values of {name} that Adult has; delete it and fetch it again")
    moments = {name: _moments(train[name]) for name in CONTINUOUS}
    parts = {}
    for part, rows in (("train", train), ("test", test)):
        scaled = [(rows[name].astype(np.float64) - mean) / deviation for name, (mean, deviation) in moments.items()]
        hot = [rows[name] == value for name in used for value in categories[name]]
        parts[f"{part}_inputs"] = np.stack(scaled + hot, axis=1).astype(np.float32)
        parts[f"{part}_labels"] = np.array([INCOMES.index(value.rstrip(".")) for value in rows["income"]], np.int64)
        parts[f"{part}_groups"] = np.array([SEXES.index(value) for value in rows["sex"]], np.int64)
        if cells:
            parts[f"{part}_groups"] += len(SEXES) * parts[f"{part}_labels"]
    if official_validation:
        for what in ("inputs", "labels", "groups"):
            whole = parts[f"train_{what}"]
            parts[f"train_{what}"], parts[f"test_{what}"] = whole[:-VALIDATION], whole[-VALIDATION:]
    return RawData(**parts, class_names=INCOMES, group_names=CELLS if cells else tuple(sex.lower() for sex in SEXES))  # type: ignore[arg-type]


def _rows(path: Path) -> dict[str, np.ndarray]:
    """The complete rows of a file, by column. The test file opens with a remark (`|1x3`) and ends labels with a dot."""
    lines = [line for line in damage.text(path).splitlines() if line and not line.startswith("|")]
    rows = [[value.strip() for value in line.split(",")] for line in lines]
    if not rows or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(f"{path}: not a table of {len(COLUMNS)} comma-separated columns; delete it and fetch it again")
    complete = [row for row in rows if "?" not in row]
    if len(complete) != ROWS[path.name]:
        raise DataError(
            f"{path}: has {len(complete)} complete rows, Adult {ROWS[path.name]}; delete it and fetch it again"
        )
    columns = dict(zip(COLUMNS, np.array(complete).T, strict=True))
    for name in CONTINUOUS:
        damage.whole_numbers(columns[name], path)
    for name, known in (("sex", SEXES), ("income", INCOMES)):
        if unknown := {value.rstrip(".") for value in columns[name]} - set(known):
            raise DataError(f"{path}: {name} {min(unknown)!r} is neither {' nor '.join(known)}; fetch it again")
    return columns


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0) of whole numbers, by integer sums: the same bits on every machine."""
    numbers = [int(value) for value in values]
    count, total, squares = len(numbers), sum(numbers), sum(number**2 for number in numbers)
    return total / count, ((count * squares - total**2) / count**2) ** 0.5
