"""What `reweigh import` finds in a table: the type of each column, classes, groups, and a test part drawn by them.

What is filled in, and which categories there are, is found in the training part alone: the test part has no say.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data import local_split, tables
from reweigh.data.local_cards import AS_ASKED, MISSING, TEST
from reweigh.data.tables import INFINITE, NUMBER, Column, Table, is_missing
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError
from reweigh.nearest import nearest
from reweigh.planning import memory
from reweigh.planning.import_parts import (
    LONGEST,
    MOST_CLASSES,
    Asked,
    Found,
    check_classes,
    counted,
    in_order,
    quoted,
    sizes,
)
from reweigh.terminal import printable

SHOWN = 12  # names of columns in a message
MOST_CATEGORIES = 100  # of a column that nobody called one of categories
MOST_ASKED = 1000  # of one that somebody did
ID_ROWS = 100  # so many whole numbers without one twice are names of rows
MANY_NUMBERS = 20  # of a column with texts in it: if it has more, and not as many texts, the texts are a mistake
# Numbers with a currency or a per cent sign, or with thousands apart.
WRITTEN = re.compile(r"[+-]?[$£€¥]? ?(\d+|\d{1,3}([.,'’ \u00a0\u202f]\d{3})+)([.,]\d+)? ?([%$£€¥]|EUR|USD)?", re.ASCII)
FRACTIONS = 20  # so many classes that are numbers with a fraction are something measured

Described = dict[str, Any] | str  # of a column: its entry on the card, or why it is left out


class Import:
    """One table and what was asked of it."""

    def __init__(self, place: Path, asked: Asked) -> None:
        self.place, self.asked = place, asked
        size, left = place.stat().st_size, memory.left()
        if tables.TIMES * size > left:
            raise DataError(
                f"{printable(place)} has {size / 2**20:,.0f} MiB, and reading it takes {tables.TIMES} times that; "
                f"{left / 2**20:,.0f} MiB of memory are free: import a part of its rows, or use a larger machine"
            )
        self.how = tables.how_to_read(place, asked.encoding, asked.separator)
        self.table: Table = tables.read(place, **self.how)
        self.words = tuple(sorted(set(asked.missing)))
        self.notes: list[str] = []
        self._check_names()

    def _check_names(self) -> None:
        """Every column that was named is there, and has one part to play."""
        asked, where = self.asked, printable(self.place)
        named: dict[str, Sequence[str | None]] = {
            "--label": [asked.label],
            "--group": [asked.group] if asked.group else [],
            "--drop": asked.drop,
            "--category": asked.category,
            "--number": asked.number,
        }
        for names in named.values():
            for name in names:
                self._check_column(str(name))
        if asked.use_group and not asked.group:
            raise ConfigError(f"{where}: --use-group makes the group an input, but there is none; say --group COLUMN")
        if asked.group == asked.label:
            raise ConfigError(f"{where}: {quoted(str(asked.label))} is label and group; name another column as --group")
        pairs = [("--label", other) for other in ("--drop", "--category", "--number")]
        pairs += [("--group", "--drop"), ("--group", "--number"), ("--category", "--drop"), ("--number", "--drop")]
        pairs += [("--category", "--number")]
        for one, other in pairs:
            if both := set(named[one]) & set(named[other]):
                raise ConfigError(
                    f"{where}: {quoted(str(both.pop()))} is named by {one} and by {other}; leave one of them out"
                )

    def _check_column(self, name: str) -> None:
        known = list(self.table.columns)
        if name in known:
            return
        if all(NUMBER.fullmatch(column) for column in known):
            raise DataError(f"{printable(self.place)}: its first line has numbers, no names of columns; add those")
        near = nearest(name, known)
        some = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        hint = f"did you mean {quoted(near)}?" if near else f"known: {printable(some)}"
        raise ConfigError(f"{printable(self.place)} has no column {quoted(name)}; {hint}")

    def said_by(self, column: Column) -> list[str]:
        """What each text of a column says, missing ones by one word."""
        return [MISSING if is_missing(text, self.words) else text for text in column.texts]

    def rows_without(self, column: Column) -> np.ndarray:
        """Which rows a column says nothing in, bool (N,)."""
        return ~column.present(self.words)[column.codes]

    def classes(self) -> list[str]:
        """The classes, in order. Raises DataError for labels that are missing, too many, or of too few rows."""
        name, column = str(self.asked.label), self.table.columns[str(self.asked.label)]
        if (missing := self.rows_without(column)).any():
            count = int(missing.sum())
            raise DataError(
                f"{printable(self.place)}: label {quoted(name)} is missing in {counted(count, 'row')}, "
                f"{self.table.named_lines(missing)}; fill it in, or import a copy without these rows"
            )
        known, numbers = in_order(column.texts), column.numbers(decimal=column.decimal(self.how["separator"]))
        fractions = np.isfinite(numbers).all() and bool((numbers != np.round(numbers)).any())
        if len(known) > (FRACTIONS if fractions else MOST_CLASSES):
            kind = "numbers with fractions" if fractions else "values"
            raise DataError(
                f"{printable(self.place)}: label {quoted(name)} has {len(known):,} different {kind}, no classes but "
                "something measured or a name of each row; name another column, or put its values into classes first"
            )
        check_classes(self.place, "class", self._counts(column))
        return known

    def values(self) -> list[str] | None:
        """The groups, in order; None without a group column."""
        if self.asked.group is None:
            return None
        column = self.table.columns[self.asked.group]
        counts = self._counts(column)
        if len(counts) > MOST_CATEGORIES:
            raise DataError(
                f"{printable(self.place)}: group {quoted(self.asked.group)} has {len(counts):,} different values, at "
                f"most {MOST_CATEGORIES} can be compared; name another column, or put its values into groups first"
            )
        check_classes(self.place, "group", counts)
        if MISSING in counts:
            self.notes.append(
                f"group {quoted(self.asked.group)}: missing in {counted(counts[MISSING], 'row')}, a group of their own"
            )
        return [*in_order(set(counts) - {MISSING}), *([MISSING] if MISSING in counts else [])]

    def _counts(self, column: Column) -> dict[str, int]:
        """How many rows say each thing."""
        counts: dict[str, int] = {}
        of_code = np.bincount(column.codes, minlength=len(column.texts)).tolist()
        for text, count in zip(self.said_by(column), of_code, strict=True):
            counts[text] = counts.get(text, 0) + count
        return counts

    # --- inputs ---

    def describe(self, name: str, trained: np.ndarray) -> Described:
        """A column's entry on the card, or why it is left out; `trained` bool (N,) are the rows of the training part.

        Raises DataError for a number that is not finite, or texts among numbers.
        """
        column, asked = self.table.columns[name], self.asked
        if name in asked.drop:
            return AS_ASKED
        present = column.present(self.words)
        decimal = column.decimal(self.how["separator"])
        numbers, infinite = (
            column.numbers(self.words, decimal),
            [bool(INFINITE.fullmatch(text)) for text in column.texts],
        )
        is_number = np.isfinite(numbers) | np.isinf(numbers) | np.array(infinite, bool)
        if not (of_training := present[column.codes] & trained).any():
            return "no value in the training part"
        stray = present & ~is_number
        many = int((present & is_number).sum())
        numeric = name in asked.number or not stray.any() or many > max(MANY_NUMBERS, stray.sum())
        if name in asked.category or not numeric:
            self._check_writing(name, column, present)
            return self._asked(name, self._category(name, column, of_training, trained))
        self._check_numbers(name, column, np.isinf(numbers) | (np.array(infinite, bool) & present), stray)
        described = self._number(name, column, numbers, of_training)
        if isinstance(described, dict) and decimal != tables.POINT:
            described["decimal"] = decimal
        return self._asked(name, described)

    def _asked(self, name: str, described: Described) -> Described:
        """The entry of a column, with a word of it if its type was asked for."""
        is_asked = name in (*self.asked.category, *self.asked.number)
        return {**described, "asked": True} if is_asked and isinstance(described, dict) else described

    def _check_writing(self, name: str, column: Column, present: np.ndarray) -> None:
        """Raise DataError for a column of many numbers, all of them with signs that are not read: 1.234,50 or 12 %."""
        texts = [text for text, says in zip(column.texts, present, strict=True) if says]
        if name not in self.asked.category and len(texts) > MANY_NUMBERS and all(map(WRITTEN.fullmatch, texts)):
            raise DataError(
                f"{printable(self.place)}: {quoted(name)} has numbers that are not read as they are written, such as "
                f"{quoted(texts[0])}; write digits and one decimal point or comma alone, or say --category or --drop"
            )

    def _check_numbers(self, name: str, column: Column, infinite: np.ndarray, stray: np.ndarray) -> None:
        for wrong, what in ((infinite, "not finite (or too large for float32)"), (stray, "no number")):
            if wrong.any():
                rows = wrong[column.codes]
                text = column.texts[int(wrong.argmax())]
                count = int(rows.sum())
                raise DataError(
                    f"{printable(self.place)}: {quoted(name)} is a column of numbers, but {quoted(text)} is {what} "
                    f"({counted(count, 'row')}, {self.table.named_lines(rows)}); correct it, or say that it "
                    f"is missing: --missing={printable(text[:LONGEST])}; or --category, if it is none of numbers; or "
                    "--drop"
                )

    def _number(self, name: str, column: Column, numbers: np.ndarray, of_training: np.ndarray) -> Described:
        """Missing numbers become the median of the training part."""
        of_row = numbers[column.codes]
        known = of_row[of_training]
        if len(np.unique(known.astype(np.float32))) == 1:
            return f"always {known[0]:g} in the training part"
        missing, asked = np.isnan(of_row), name in self.asked.number
        distinct = len(np.unique(of_row)) == len(of_row) and not missing.any()
        if not asked and distinct and len(of_row) >= ID_ROWS and (of_row == np.round(of_row)).all():
            return "whole numbers, no two the same: it names the rows (--number keeps it)"
        impute = float(np.median(known)) if missing.any() else None
        return {"name": name, "type": "number", "missing": int(missing.sum()), "impute": impute}

    def _category(self, name: str, column: Column, of_training: np.ndarray, trained: np.ndarray) -> Described:
        """Missing ones are a category of their own, if the training part has any."""
        missing = self.rows_without(column)
        codes = np.unique(column.codes[of_training]).tolist()
        kept = in_order(column.texts[code] for code in codes)
        own = bool((missing & trained).any())
        if len(kept) + own == 1:
            return f"always {quoted(kept[0])} in the training part"
        named = name in self.asked.category
        most = MOST_ASKED if named else MOST_CATEGORIES
        if len(column.texts) == len(self.table) and not named:
            return f"texts, no two the same (such as {quoted(kept[0])})"
        if 2 * len(kept) > trained.sum() and not named:
            return f"{len(kept):,} different texts in {trained.sum():,} rows (such as {quoted(kept[0])})"
        if len(kept) > most:
            return f"{len(kept):,} different texts, more than {most} (such as {quoted(kept[0])})"
        unseen = int((~trained & ~missing & ~np.isin(column.codes, codes)).sum())
        if unseen:
            self.notes.append(
                f"{quoted(name)}: a category that the training part has not is 0 in all, in the test part in "
                f"{counted(unseen, 'row')}"
            )
        return {"name": name, "type": "category", "missing": int(missing.sum()),
                "impute": "category" if own else None, "categories": kept}  # fmt: skip

    def tell_if_it_tells_all(self, name: str, labels: np.ndarray) -> None:
        """A note for a column of which each value goes with one class only: it may say the label in other words."""
        column = self.table.columns[name]
        pairs = np.unique(column.codes.astype(np.int64) * (labels.max() + 1) + labels)
        if len(pairs) == len(column.texts) <= len(labels) // 10:
            self.notes.append(
                f"{quoted(name)} tells the label of every row; if it is the label in other words, --drop it"
            )


def found(place: Path, asked: Asked) -> Found:
    """The card of a table. Raises ConfigError for what was asked and cannot be, DataError for data that cannot be."""
    one = Import(place, asked)
    table, share = one.table, TEST if asked.test is None else asked.test
    classes, values = one.classes(), one.values()
    labels = tables.places(table.columns[str(asked.label)], classes, one.words)
    groups = None if values is None else tables.places(table.columns[str(asked.group)], values, one.words)
    tested = local_split.drawn_for_test(labels, groups, share, asked.seed)
    columns, dropped = [], []
    for name in table.columns:
        if name == asked.label or (name == asked.group and not asked.use_group):
            continue
        described = one.describe(name, ~tested)
        if isinstance(described, str):
            dropped.append({"name": name, "why": described})
        else:
            columns.append(described)
            one.tell_if_it_tells_all(name, labels)
    if not columns:
        raise DataError(
            f"{printable(place)} has no column to learn from: {_whys(dropped)}; see --category and --number"
        )
    inputs = tables.width(columns)
    if (needed := 8 * inputs * len(table)) > (left := memory.left()):
        raise DataError(
            f"{printable(place)} makes {inputs:,} inputs of {len(table):,} rows, {needed / 2**20:,.0f} MiB; only "
            f"{left / 2**20:,.0f} MiB are free: --drop a column of many categories, or import a part of its rows"
        )
    parts = {
        part: sizes(labels[rows], None if groups is None else groups[rows], len(classes), len(values or ()))
        for part, rows in (("train", ~tested), ("test", tested))
    }
    _check_tested(place, classes, values, parts["test"])
    card = {
        "kind": "table", "sha256": file_digest(place), "bytes": place.stat().st_size,
        "label": {"column": asked.label, "classes": classes},
        "group": None if values is None else {"column": asked.group, "values": values},
        "columns": columns, "dropped": dropped, "read": {**one.how, "missing": list(one.words)}, "side": None,
        "split": {"test": share, "seed": asked.seed,
                  "stratified": "label" if values is None else "label and group"},
        "inputs": inputs, "sizes": parts,
    }  # fmt: skip
    return Found(card, None, [*one.notes, *_of_cells(parts, classes, values)])


def _check_tested(place: Path, classes: list[str], values: list[str] | None, test: dict[str, Any]) -> None:
    """Raise DataError for a class or a group that nobody tests: its rows are one each in many cells."""
    for what, names, counts in (("class", classes, test["classes"]), ("group", values, test["groups"])):
        if names and 0 in counts:
            raise DataError(
                f"{printable(place)}: {what} {quoted(names[counts.index(0)])} has one row only in each "
                f"{'group' if what == 'class' else 'class'}, and so none to test on; join it with another"
            )


def _whys(dropped: list[dict[str, str]]) -> str:
    """Why each column is left out, the first few of them."""
    some = "; ".join(f"{quoted(one['name'])}: {one['why']}" for one in dropped[:3])
    return (some + ("; ..." if len(dropped) > 3 else "")) or "there is no column but the label and the group"


def _of_cells(parts: dict[str, Any], classes: list[str], values: list[str] | None) -> list[str]:
    """A note for classes that nobody of a group is in, in either part: nothing can be said of them."""
    if values is None:
        return []
    notes = []
    cells = [(label, group) for label in range(len(classes)) for group in range(len(values))]
    of_part = {
        part: {cell for cell in cells if not of["class_by_group"][cell[0]][cell[1]]} for part, of in parts.items()
    }
    for what, empty in (
        ("there is nobody", of_part["train"] & of_part["test"]),
        ("the training part has nobody", of_part["train"] - of_part["test"]),
        ("the test part has nobody", of_part["test"] - of_part["train"]),
    ):
        if empty:
            label, group = min(empty)
            more = f" (and {len(empty) - 1} more such pairs)" if len(empty) > 1 else ""
            cell = f"class {quoted(classes[label])} in group {quoted(values[group])}"
            notes.append(f"{what} of {cell}{more}: no error is known there")
    return notes
