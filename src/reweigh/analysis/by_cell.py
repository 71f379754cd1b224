"""The runs of one cell out of a table of runs, which is grouped once and not searched for every cell."""

import functools
from typing import Any

import pandas as pd


class _Table:
    """A table as a key: that very object. Whoever holds it must not change the names in it."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs

    def __hash__(self) -> int:
        return id(self.runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self.runs is other.runs


def runs_of(runs: pd.DataFrame, **names: str) -> pd.DataFrame:
    """The rows of a table (see `tables.table`) that have these names, in their order.

    >>> table = pd.DataFrame({"setting": ["rho0.1", "rho0.1"], "method": ["er", "tdr"], "seed": [0, 0]})
    >>> runs_of(table, setting="rho0.1", method="tdr").index.tolist()
    [1]
    """
    return _rows(_Table(runs), tuple(names), tuple(names.values())).copy(deep=False)  # which is its holder's to change


@functools.lru_cache(maxsize=2048)
def _rows(table: _Table, columns: tuple[str, ...], names: tuple[str, ...]) -> pd.DataFrame:
    return table.runs.iloc[_places(table, columns).get(names, [])]


@functools.lru_cache(maxsize=32)
def _places(table: _Table, columns: tuple[str, ...]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for place, names in enumerate(zip(*(table.runs[name] for name in columns), strict=True)):
        found.setdefault(names, []).append(place)
    return found
