"""Which published numbers share a heat map of the page, and where they stand: methods down, settings across."""

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
Place = tuple[str, str]  # the titles of a row and a column


@dataclass
class Panel:
    """One heat map. `cells` has the lines at each place."""

    title: str
    dataset: str
    rows: list[Row] = field(default_factory=list)
    cells: dict[Place, list[Row]] = field(default_factory=dict)

    @property
    def down(self) -> list[str]:
        """The titles of its rows, the methods."""
        return list(dict.fromkeys(method for method, _ in self.cells))

    @property
    def across(self) -> list[str]:
        """The titles of its columns, the settings."""
        return list(dict.fromkeys(setting for _, setting in self.cells))

    def add(self, rows: list[Row], metrics: bool) -> None:
        """Put lines in their places. With `metrics`, the titles of columns name the metric too."""
        for row in rows:
            self.rows.append(row)
            self.cells.setdefault(_place(row, metrics), []).append(row)


def panels(rows: list[Row]) -> list[Panel]:
    """The heat maps of one table of a paper.

    Each experiment has its own. Experiments on the same data set share one, as in the paper, if their numbers have
    different places in it.
    """
    metrics = len({row["metric"] for row in rows}) > 1
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["experiment"] or ""), []).append(row)
    maps: list[Panel] = []
    with_runs_first = sorted(groups.items(), key=lambda item: not item[0][1])
    for (dataset, _), group in with_runs_first:
        places = {_place(row, metrics) for row in group}
        fitting = [panel for panel in maps if panel.dataset == dataset and not places & set(panel.cells)]
        if not fitting:
            maps.append(Panel(group[0]["panel"], dataset))
        (fitting or maps[-1:])[0].add(_with_settings(group, fitting), metrics)
    for panel in maps:
        panel.rows.sort(key=lambda row: row["place"])
    return maps


def _with_settings(group: list[Row], fitting: list[Panel]) -> list[Row]:
    """The lines; those whose setting is none of ours take the setting of their map if it has only one."""
    for row in group:
        if row["value"] is None:
            settings = fitting[0].across if fitting else []
            row["value"] = settings[0] if len(settings) == 1 else "other"
    return group


def _place(row: Row, metrics: bool) -> Place:
    column = row["value"] or ""
    return row["title"] or "", f"{column} {row['metric'].replace('_', ' ')}".strip() if metrics else column
