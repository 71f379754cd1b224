"""What a scale leaves out: told apart from what was not run, and not drawn where the paper's table lacks it too.

Cells say why they are empty in their `note` (`Material.why_not`).
"""

from collections.abc import Iterable

import pandas as pd

from reweigh.analysis.tables import NEVER, Material, outside
from reweigh.plots.style import capitalised


def of_scale(material: Material, rows: pd.DataFrame, *sides: str) -> pd.DataFrame:
    """Some lines less the sides of a table that a scale leaves out whole, and that the paper's table does not have.

    `sides`: the columns that name a side, such as `experiment` and `method`. All lines, where none would be left.
    """
    if rows.empty or "note" not in rows:
        return rows
    left_out = (rows["n"] == 0) & (rows["note"] == outside(material.scale))
    empty = left_out | (rows["note"] == NEVER)
    if "listed" in rows:
        empty &= ~rows["listed"]
    groups = [rows[side] for side in sides]
    kept = rows[~(empty.groupby(groups).transform("all") & left_out.groupby(groups).transform("any"))]
    return kept if len(kept) else rows


def absent_notes(material: Material, absent: Iterable[tuple[str, bool]], kind: str = "") -> list[str]:
    """`Not part of scale quick: A; B`, `Not run: C`, of names and whether the scale leaves them out.

    `kind` is what they are: `Settings not run: C`.
    """
    said: dict[str, dict[str, None]] = {}
    for name, left_out in absent:
        why = outside(material.scale) if left_out else "not run"
        said.setdefault(capitalised(f"{kind} {why}".strip()), {})[name] = None
    return [f"{what}: {'; '.join(names)}" for what, names in said.items()]
