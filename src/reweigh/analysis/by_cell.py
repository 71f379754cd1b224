"""The runs of one cell out of a table of runs, which is grouped once and not searched for every cell."""

import functools
from typing import Any

import pandas as pd

CELL = ("experiment", "setting", "method")


class _Table:
    """A table as a key: that very object. Whoever holds it must not change its names of cells."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs

    def __hash__(self) -> int:
        return id(self.runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self.runs is other.runs


def runs_of(runs: pd.DataFrame, experiment: str, setting: str, method: str) -> pd.DataFrame:
    """The rows of a table (see `tables.table`) that are of one cell, in their order; none if it has none."""
    return runs.iloc[_places(_Table(runs)).get((experiment, setting, method), [])]


@functools.lru_cache(maxsize=32)
def _places(table: _Table) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for place, names in enumerate(zip(*(table.runs[name] for name in CELL), strict=True)):
        found.setdefault(names, []).append(place)
    return found
