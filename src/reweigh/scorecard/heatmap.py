"""Which published numbers stand together in one heat map, and where: methods down, settings across."""

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
Place = tuple[str, str]  # the titles of a row and a column


@dataclass
class Panel:
    """One heat map. `cells` has a line for each number; `note` is what a table says of all of them."""

    title: str
    dataset: str
    rows: list[Row] = field(default_factory=list)
    cells: dict[Place, list[Row]] = field(default_factory=dict)
    note: str = ""

    @property
    def down(self) -> list[str]:
        """The titles of its rows, the methods."""
        return list(dict.fromkeys(method for method, _ in self.cells))

    @property
    def across(self) -> list[str]:
        """The titles of its columns, the settings."""
        return list(dict.fromkeys(setting for _, setting in self.cells))

    def add(self, rows: list[Row], metrics: bool) -> None:
        """Put lines in their places; `metrics`: columns name the metric too."""
        for row in rows:
            self.rows.append(row)
            self.cells.setdefault(_place(row, metrics), []).append(row)


def panels(rows: list[Row]) -> list[Panel]:
    """The heat maps of one table of a paper.

    Each experiment has its own, but for those of one data set whose numbers fill different places of one map, which is
    how the paper has them.
    """
    metrics = len({row["metric"] for row in rows}) > 1
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["experiment"] or ""), []).append(row)
    made: list[Panel] = []
    for (dataset, _), group in sorted(groups.items(), key=lambda one: not one[0][1]):  # those with runs first
        mine = {_place(row, metrics) for row in group}
        fits = [panel for panel in made if panel.dataset == dataset and not mine & set(panel.cells)]
        if not fits:
            made.append(Panel(group[0]["panel"], dataset))
        (fits or made[-1:])[0].add(_settled(group, fits), metrics)
    for panel in made:
        panel.rows.sort(key=lambda row: row["place"])
    return made


def _settled(group: list[Row], fits: list[Panel]) -> list[Row]:
    """Lines whose setting is ours under no name take the only one that their map has."""
    for row in group:
        if row["value"] is None:
            there = fits[0].across if fits else []
            row["value"] = there[0] if len(there) == 1 else "other"
    return group


def _place(row: Row, metrics: bool) -> Place:
    column = row["value"] or ""
    return row["title"] or "", f"{column} {row['metric'].replace('_', ' ')}".strip() if metrics else column
