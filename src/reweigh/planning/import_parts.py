"""What is asked of `reweigh import`, what it finds, and what tables and folders of images have in common."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.errors import DataError
from reweigh.terminal import printable

FEWEST = 10  # rows of a class or a group, of which training and test part get some
MOST_CLASSES = 1000
LONGEST = 40  # letters of a text in a message
NUMBERED = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Asked:
    """What the command line says; empty where it says nothing."""

    label: str | None = None
    group: str | None = None
    use_group: bool = False
    test: float | None = None
    seed: int = 0
    name: str | None = None
    drop: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    encoding: str | None = None
    separator: str | None = None
    side: int | None = None
    skip_unreadable: bool = False


@dataclass
class Found:
    """A card without its name, path and digest; the list of a folder; and what a user should know of the data."""

    card: dict[str, Any]
    listed: bytes | None = None
    notes: list[str] = field(default_factory=list)


def in_order(texts: Iterable[str]) -> list[str]:
    """Different texts in the order in which a reader expects them: numbers by size, else by their letters.

    >>> in_order(["10", "9", "-1"]), in_order(["b", "10", "9"])
    (['-1', '9', '10'], ['10', '9', 'b'])
    """
    known = list(texts)
    if all(NUMBERED.fullmatch(text) for text in known):
        return sorted(known, key=lambda text: (float(text), text))
    return sorted(known)


def counted(count: int, what: str) -> str:
    """
    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def quoted(text: str) -> str:
    """A text of the user's in quotes, in one line, its first letters if it is long."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def check_classes(place: Path, what: str, counts: dict[str, int]) -> None:
    """Raise DataError unless classes (`what` is "class") or groups are two at least, none with fewer than `FEWEST`."""
    if len(counts) < 2:
        raise DataError(
            f"{printable(place)} has one {what} only, {quoted(next(iter(counts), ''))}; two are needed at least: name "
            f"another {'column' if place.is_file() else 'folder'}"
        )
    small = {name: count for name, count in counts.items() if count < FEWEST}
    if small:
        name, count = min(small.items(), key=lambda one: one[1])
        more = f" (and {len(small) - 1} more have fewer than {FEWEST})" if len(small) > 1 else ""
        unit = "row" if place.is_file() else "image"
        raise DataError(
            f"{printable(place)}: {what} {quoted(name)} has {counted(count, unit)}{more}, too few to train and "
            f"test on; join it with another, or import a copy without it: at least {FEWEST} are needed"
        )


def sizes(labels: np.ndarray, groups: np.ndarray | None, classes: int, values: int) -> dict[str, Any]:
    """`{rows, classes, groups, class_by_group}` of one part: how many of each; null without groups. Arrays int (N,)."""
    table = None if groups is None else np.bincount(labels * values + groups, minlength=classes * values)
    return {
        "rows": len(labels),
        "classes": np.bincount(labels, minlength=classes).tolist(),
        "groups": None if groups is None else np.bincount(groups, minlength=values).tolist(),
        "class_by_group": None if table is None else table.reshape(classes, values).tolist(),
    }
