"""Tables of the user's own: CSV in any script and with the usual separators, every damage named with its line.

A table is kept as codes and texts, column by column: what a cell says is decided once for each different text. Lines
are those of the file, the header being line 1, though cells may hold line breaks.
"""

import codecs
import csv
import io
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data.local_cards import MISSING
from reweigh.errors import ConfigError, DataError
from reweigh.terminal import printable

SEPARATORS = (",", ";", "\t", "|")
WORDS_FOR_MISSING = frozenset({"", "?", "na", "n/a", "nan", "-nan", "null", "#n/a", "<na>"})  # in small letters
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WITH_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)  # a comma that may divide thousands
POINT, COMMA = ".", ","
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
LOOKED_AT = 1 << 16  # bytes that say whether a file is text, and how its lines are divided
AT_ONCE = 10_000  # rows
TO_SAVE = "save it as CSV"
TIMES = 20  # the bytes of a file that reading it takes, at most: cells are short, and a text is an object
BINARY = {
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "Parquet",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Column:
    """One column: `codes` int32 (N,) into its different `texts`, which have no spaces at their ends."""

    codes: np.ndarray
    texts: tuple[str, ...]

    def present(self, words: Collection[str] = ()) -> np.ndarray:
        """Which texts say something, bool (texts,): not those of `WORDS_FOR_MISSING`, nor of these `words`."""
        return np.array([not is_missing(text, words) for text in self.texts], bool)

    def decimal(self, separator: str) -> str:
        """The decimal mark of most of the fractions among the texts: a point, or a comma.

        Where a comma divides fields too, commas that may all divide thousands are no decimal marks.
        """
        commas = [text for text in self.texts if COMMA in text and WITH_COMMA.fullmatch(text)]
        points = sum(POINT in text and NUMBER.fullmatch(text) is not None for text in self.texts)
        grouped = separator == COMMA and all(GROUPED.fullmatch(text) for text in commas)
        return COMMA if len(commas) > points and not grouped else POINT

    def numbers(self, words: Collection[str] = (), decimal: str = POINT) -> np.ndarray:
        """The number that each text says, float64 (texts,): NaN if it says none, or is missing; infinite if too large.

        Large means beyond float32, in which networks compute.
        """
        form = WITH_COMMA if decimal == COMMA else NUMBER
        known = [form.fullmatch(text) is not None and not is_missing(text, words) for text in self.texts]
        values = [float(text.replace(decimal, POINT)) if is_known else np.nan
                  for text, is_known in zip(self.texts, known, strict=True)]  # fmt: skip
        numbers = np.array(values, np.float64)
        return np.where(np.abs(numbers) > np.finfo(np.float32).max, np.inf, numbers)


@dataclass(frozen=True)
class Table:
    """The rows of a file: its columns by name, in order, and the line on which each row begins, int64 (N,)."""

    path: Path
    columns: dict[str, Column]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def named_lines(self, rows: np.ndarray, most: int = 3) -> str:
        """The lines of some rows, given by number or as bool (N,), for a message: `lines 7, 9, 12, ...`."""
        lines = self.lines[rows].tolist()
        some = ", ".join(map(str, lines[:most])) + (", ..." if len(lines) > most else "")
        return f"{'line' if len(lines) == 1 else 'lines'} {some}"


def is_missing(text: str, words: Collection[str] = ()) -> bool:
    """Whether a cell says that it says nothing.

    >>> is_missing("NaN"), is_missing("none"), is_missing("none", ["none"])
    (True, False, True)
    """
    return text.lower() in WORDS_FOR_MISSING or text in words


def how_to_read(path: Path, encoding: str | None = None, separator: str | None = None) -> dict[str, str]:
    """`{encoding, separator}` of a CSV file, found out where they are not given.

    Raises ConfigError for an encoding or a separator that cannot be, DataError for what is no text, has another
    encoding, or lines that no separator divides evenly.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise ConfigError(f"--separator is {separator!r}; it is one character between fields, such as ;")
    with _open(path) as file:
        head = file.read(LOOKED_AT)
    if not head.strip():
        raise DataError(f"{printable(path)} is empty; {TO_SAVE} with a header and rows")
    if encoding is None:
        encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        what = next((what for mark, what in BINARY.items() if head.startswith(mark)), None)
        if what or (encoding != "utf-16" and b"\0" in head):
            raise DataError(f"{printable(path)} is no CSV file but {what or 'binary'}; {TO_SAVE}")
    try:
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        text = head.decode(encoding, "ignore" if len(head) == LOOKED_AT else "strict")
    except LookupError:
        raise ConfigError(
            f"--encoding {encoding!r} is unknown; try utf-8, cp1252 (Western) or cp1251 (Cyrillic)"
        ) from None
    except UnicodeError:
        raise _not_in(path, encoding) from None
    return {"encoding": encoding, "separator": separator or _separator(path, text, len(head) == LOOKED_AT)}


def _separator(path: Path, text: str, cut: bool) -> str:
    """The separator that divides the first lines into the same number of fields, two at least, the most it can be."""
    best = (0.0, 0, "")
    for separator in SEPARATORS:
        try:
            widths = [len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
        except csv.Error:
            continue
        widths = widths[:-1] if cut and len(widths) > 1 else widths
        if widths and widths[0] > 1:
            best = max(best, (widths.count(widths[0]) / len(widths), widths[0], separator))
    if best[0] <= 0.5:
        raise DataError(
            f"{printable(path)} is no CSV file: neither comma, semicolon, tab nor | divides its lines into as many "
            f"fields as its first; {TO_SAVE}, or name what does: --separator"
        )
    return best[2]


def read(path: Path, encoding: str, separator: str) -> Table:
    """The whole table. Raises DataError, with the line, for a row of another length, a stray quote, a name twice."""
    rows = _rows(path, encoding, separator)
    _, header = next(rows, (0, []))
    names = _names(path, header)
    codes, known = [array("i") for _ in names], [_Codes() for _ in names]
    lines = array("q")
    waiting: list[list[str]] = []

    def take() -> None:
        for of, texts, cells in zip(codes, known, zip(*waiting, strict=True), strict=True):
            of.extend([texts[cell] for cell in cells])
        waiting.clear()

    for line, row in rows:
        if len(row) != len(names):
            raise DataError(
                f"{printable(path)}, line {line}: {len(row)} fields, but the header has {len(names)}; put quotes "
                "around text that holds the separator, and fill up short lines"
            )
        lines.append(line)
        waiting.append(row)
        if len(waiting) == AT_ONCE:
            take()
    if not lines:
        raise DataError(f"{printable(path)} has a header and no rows; {TO_SAVE} with its rows")
    if waiting:
        take()
    columns = {}
    for name in names:  # each is let go of as it is done: the texts of a column of measurements fill the memory
        columns[name] = _column(codes.pop(0), known.pop(0))
    return Table(path, columns, np.array(lines, np.int64))


class _Codes(dict[str, int]):
    """Different texts -> 0, 1, 2, ... in the order in which they come."""

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self)
        return code


def _column(codes: "array[int]", known: _Codes) -> Column:
    """Texts that differ in the spaces at their ends alone are one."""
    of_row = np.frombuffer(codes, np.int32)
    if all(text == text.strip() for text in known):
        return Column(of_row, tuple(known))
    stripped = _Codes()
    places = np.array([stripped[text.strip()] for text in known], np.int32)
    return Column(places[of_row], tuple(stripped))


def _rows(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its fields; blank lines are none."""
    with _open(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        reader = csv.reader(text, delimiter=separator, strict=True)
        line = 1
        try:
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{printable(path)}, line {line}: not CSV ({error}); a quote within a cell is written twice, and one "
                "that opens a cell closes it"
            ) from None
        except UnicodeError:
            raise _not_in(path, encoding) from None


def _names(path: Path, header: Sequence[str]) -> list[str]:
    """The names of the columns; one without a name is called by its place. Raises DataError for a name twice."""
    names = [name.strip() or f"(column {place})" for place, name in enumerate(header, 1)]
    for place, name in enumerate(names, 1):
        first = names.index(name) + 1
        if first < place:
            raise DataError(
                f"{printable(path)} has two columns {name[:40]!r}, {first} and {place}; give one another name"
            )
    return names


def _open(path: Path) -> Any:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror}); allow reading it") from None


def _not_in(path: Path, encoding: str) -> DataError:
    """The error for a file in another encoding, with the first line that is."""
    name = "UTF-8" if encoding == "utf-8-sig" else encoding
    place = ""
    if encoding != "utf-16":
        for line, content in enumerate(path.read_bytes().split(b"\n"), 1):
            try:
                content.decode(encoding)
            except UnicodeError:
                place = f", line {line}"
                break
    return DataError(
        f"{printable(path)}{place}: not {name}; name its encoding, such as --encoding cp1252 (Western) or cp1251 "
        "(Cyrillic)"
    )


# --- by a card -------------------------------------------------------------------------------------------------------


def features(table: Table, columns: Sequence[dict[str, Any]], words: Collection[str] = ()) -> np.ndarray:
    """The inputs of all rows, float32 (N, F), by the `columns` of a card, in their order.

    A number is itself, or `impute` where it is missing; its column may have a `decimal` mark other than a point. A
    category is one-hot; a text that is none of the column's `categories` is 0 in all of them. With `impute: category`,
    missing is one more, the last.
    """
    inputs = np.zeros((len(table), width(columns)), np.float32)
    start = 0
    for column in columns:
        given = table.columns[column["name"]]
        if column["type"] == "number":
            values = given.numbers(words, column.get("decimal", POINT))
            values[np.isnan(values)] = np.nan if column["impute"] is None else column["impute"]
            inputs[:, start] = values[given.codes]
        else:
            place = {text: number for number, text in enumerate(column["categories"])}
            own = len(place) if column["impute"] == "category" else -1
            places = [own if is_missing(text, words) else place.get(text, -1) for text in given.texts]
            of_row = np.array(places, np.int64)[given.codes]
            known = (of_row >= 0).nonzero()[0]
            inputs[known, start + of_row[known]] = 1
        start += width([column])
    return inputs


def width(columns: Sequence[dict[str, Any]]) -> int:
    """How many inputs the columns of a card make.

    >>> width([{"type": "number"}, {"type": "category", "categories": ["n", "s"], "impute": "category"}])
    4
    """
    return sum(
        1 if column["type"] == "number" else len(column["categories"]) + (column["impute"] == "category")
        for column in columns
    )


def places(column: Column, names: Sequence[str], words: Collection[str] = ()) -> np.ndarray:
    """Which of `names` each row says, int64 (N,); missing is `(missing)`. Raises DataError for a text that is none."""
    place = {name: number for number, name in enumerate(names)}
    said_by = [MISSING if is_missing(text, words) else text for text in column.texts]
    if unknown := [text for text in said_by if text not in place]:
        raise DataError(f"{unknown[0][:40]!r} is none of the {len(names)} values on the card; import the data again")
    return np.array([place[text] for text in said_by], np.int64)[column.codes]
