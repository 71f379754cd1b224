"""The files of published numbers, data/published/PAPER.csv: read as they are printed, and refused where they cannot be.

Each fault is refused with file, line and remedy when the config is loaded, before any job: an unknown metric, a value
that its metric cannot have (79.06 is no fraction), a negative sd, an sd without a mean, one number twice.
"""

import codecs
import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh import metrics
from reweigh.errors import ConfigError

COLUMNS = ("paper", "table_or_figure", "dataset", "setting", "method", "metric", "mean", "std")
NUMBER_OF = ("table_or_figure", "dataset", "setting", "method", "metric")  # what one number is the number of
NO_NUMBER = ("", "na", "nan")  # how a cell says that the paper prints nothing there

Row = dict[str, Any]


def read(root: Path, file: str) -> list[Row]:
    """The rows of a file of published numbers; none where it is not there, as on a machine that only trains.

    Their texts are as in the file; `mean` and `std` are numbers as printed, in per cent where the metric says so, or
    None. Raises ConfigError at the first row that cannot be.
    """
    path = root / file
    if not path.is_file():
        return []
    rows: list[Row] = []
    lines_of: dict[tuple[str, ...], int] = {}
    for number, raw in _lines(path, file):
        where = f"{file}:{number}"
        row = _checked(where, raw)
        key = tuple(row[name] for name in NUMBER_OF)
        if key in lines_of:
            raise ConfigError(f"{where}: {', '.join(key)} stands in line {lines_of[key]} too; keep one of them")
        lines_of[key] = number
        rows.append(row)
    return rows


def _lines(path: Path, file: str) -> Iterator[tuple[int, dict[str | None, Any]]]:
    """Each row as the file has it, with the number of its line. Raises ConfigError if the file is no such csv."""
    content = path.read_bytes()
    try:
        reader: csv.DictReader[str] = csv.DictReader(io.StringIO(content.decode(), newline=""))
        if content.startswith(codecs.BOM_UTF8):
            raise ConfigError(f"{file}:1: begins with a byte order mark; save it as UTF-8 without one")
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise ConfigError(f"{file}:1: no column {missing[0]!r}; the columns are {','.join(COLUMNS)}")
        for raw in reader:
            yield reader.line_num, dict(raw)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{file}:{reader.line_num + 1}: not a line of a csv ({error}); mend it") from None


def _checked(where: str, raw: dict[str | None, Any]) -> Row:
    """A row with its numbers as numbers. Raises ConfigError if it cannot be one."""
    if None in raw or None in raw.values():
        raise ConfigError(f"{where}: not one value for each column; quote a text that has a comma")
    row: Row = {str(name): value for name, value in raw.items()}
    metric, divisor = metrics.printed(row["metric"], where)
    if not metric.direction:
        raise ConfigError(f"{where}: no value of {metric.name} is better than another, so that none can be judged")
    mean, sd = (_number(where, name, row[name]) for name in ("mean", "std"))
    if mean is None and sd is not None:
        raise ConfigError(f"{where}: std {row['std']} without a mean; write the mean, or NA for both")
    if mean is not None and (why := metric.cannot_be(mean / divisor)):
        percent = f"; {metric.name}{metrics.PERCENT} is the metric for per cent" if divisor == 1 else ""
        shown = f"{row['mean']} %" if divisor != 1 else row["mean"]
        raise ConfigError(f"{where}: mean {shown}: {why}{percent if metric.unit == 'fraction' else ''}")
    if sd is not None and not (math.isfinite(sd) and 0 <= sd / divisor <= metric.high - metric.low):
        widest = "a standard deviation is not negative" if sd < 0 else f"more than {metric.name} can scatter"
        raise ConfigError(f"{where}: std {row['std']}: {widest}; read it again in the paper")
    return {**row, "mean": mean, "std": sd}


def _number(where: str, name: str, text: str) -> float | None:
    if text.strip().lower() in NO_NUMBER:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{where}: {name} {text!r} is no number; write one, or NA where the paper has none") from None
