"""What a paper's own tables say of an order or of ranks, for claims that no run decides (`Claim.in_print`).

A row is what a table prints side by side: numbers of one data set, setting and metric. Ranks are those within a row, 1
the best, ties shared. Nothing here is a verdict: rows share methods, data and choices, so that they are counted only.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import rankdata

from reweigh import metrics
from reweigh.config import published
from reweigh.config.claim import InPrint

DECIMALS = 10  # what arithmetic leaves of a difference of printed numbers is beyond them
Place = tuple[str, ...]  # table, data set, setting, metric
Rows = dict[Place, dict[str, float]]  # of each place: a number of each method, turned so that higher is better


@dataclass(frozen=True)
class Rank:
    """A method's ranks over the rows that have it: `above`, `level` and `below` count rows by the other method."""

    method: str
    rows: int
    mean: float | None
    above: int
    level: int
    below: int
    gap: float | None  # mean difference to the other method, in the metric's unit


def rows_of(printed: Iterable[dict[str, Any]], tables: Iterable[str]) -> Rows:
    """The rows of some tables, from the numbers that `config.published` reads."""
    rows: Rows = defaultdict(dict)
    for row in printed:
        if row["table_or_figure"] in set(tables) and row["mean"] is not None:
            metric, divisor = metrics.printed(row["metric"])
            place = row["table_or_figure"], row["dataset"], row["setting"], row["metric"]
            rows[place][row["method"]] = metric.direction * row["mean"] / divisor
    return dict(rows)


def strict(rows: Rows, order: list[str]) -> tuple[list[Place], list[Place]]:
    """The rows that have all methods of an order, worst first: in which it is strict, and in which it is not."""
    whole = {place: [row[name] for name in order] for place, row in rows.items() if row.keys() >= set(order)}
    held = [place for place, values in whole.items() if all(a < b for a, b in itertools.pairwise(values))]
    return held, [place for place in whole if place not in held]


def ranks(rows: Rows, methods: list[str], without: Iterable[str] = (), against: str | None = None) -> list[Rank]:
    """The ranks of some methods, over the rows that have them, among all methods but those left out."""
    left = set(without)
    ranked: dict[str, list[float]] = defaultdict(list)
    for row in rows.values():
        kept = {name: value for name, value in row.items() if name not in left}
        for name, rank in zip(kept, rankdata([-value for value in kept.values()]), strict=True):
            ranked[name].append(float(rank))
    return [_rank(method, ranked[method], _gaps(rows, method, against)) for method in methods]


def _gaps(rows: Rows, method: str, other: str | None) -> list[float]:
    """How far a method is ahead of another in each row that has both."""
    return [row[method] - row[other] for row in rows.values() if other is not None and {method, other} <= row.keys()]


def _rank(method: str, found: list[float], gaps: list[float]) -> Rank:
    above, below = (sum(sign * round(gap, DECIMALS) > 0 for gap in gaps) for sign in (1, -1))
    mean, gap = (sum(values) / len(values) if values else None for values in (found, gaps))
    return Rank(method, len(found), mean, above, len(gaps) - above - below, below, gap)


def text(root: Path, file: str, asked: InPrint) -> str:
    """What the tables say, in a sentence for a claim's note."""
    rows = rows_of(published.read(root, file), asked.tables)
    tables = ", ".join(asked.tables)
    if asked.order:
        held, other = strict(rows, asked.order)
        order = " < ".join(asked.order)
        against = f", not in {', '.join(place[1] for place in other)}" if other else ""
        return f"in print ({tables}): {order} in {len(held)} of {len(held) + len(other)} rows{against}"
    shown = [_said(one, asked.against) for one in ranks(rows, asked.ranks, asked.without, asked.against)]
    among = f", without {', '.join(asked.without)}" if asked.without else ""
    return f"in print ({tables}: {len(rows)} rows, mean rank, 1 is best{among}): {', '.join(shown)}"


def _said(rank: Rank, against: str | None) -> str:
    if rank.mean is None:
        return f"{rank.method} in no row"
    of = f"{rank.method} {rank.mean:.2f} in {rank.rows}"
    if against is None or rank.method == against or rank.gap is None:
        return of
    counts = f"above {against} in {rank.above}, level in {rank.level}, below in {rank.below}"
    return f"{of} ({counts}, {100 * rank.gap:+.2f} points on average)"
