"""A table whose lines are data sets and whose columns are methods, in several blocks below one another.

For tables with more methods than fit beside each other: a number with its sd takes a seventh of the width.
"""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from reweigh.analysis.tables import Material
from reweigh.plots import tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.panels import settings_of
from reweigh.plots.printed import head, with_digits
from reweigh.plots.style import data_title
from reweigh.plots.tables import Grid, as_figure, by_place, writer

SIDE = 28  # characters beside a line
GAP = "not in the paper, and not run here"


def rows(material: Material, blocks: Sequence[Sequence[str]], metric: str = "test_accuracy") -> pd.DataFrame:
    """One line a cell of the methods of `blocks`, as in `tables`; others are left out."""
    lines = tables.rows(material, metric)
    shown = [method for block in blocks for method in block]
    return lines[lines["method"].isin(shown)].reset_index(drop=True)


@styled
def draw(material: Material, rows: pd.DataFrame, blocks: Sequence[Sequence[str]], percent: bool = False) -> Figure:
    """Lines: data sets; columns: the methods of a block. A data set that was not run has the paper's numbers alone."""
    lines = with_digits(material, rows.to_dict("records"))
    run = {(line["experiment"], line["setting"]) for line in lines if line["n"] or line["status"] != "not run"}
    known = _places(material, lines)
    places = [place for place in known if place in run or _printed(lines, place) or _of_paper(material, place)]
    cells = [_cell(line, run) for line in lines if (line["experiment"], line["setting"]) in places]
    grids = [_grid(material, cells, places, block) for block in blocks if any(one["method"] in block for one in cells)]
    notes = notes_of(material, [place for place in known if place not in places])
    shown = as_figure(material, pd.DataFrame(cells), grids, writer(percent), notes, GAP)
    return Figure(shown.picture, rows)


def _places(material: Material, lines: Sequence[Mapping[Hashable, Any]]) -> list[tuple[str, str]]:
    """The data sets and settings of some lines, clean ones before noisy ones."""
    places = {(line["experiment"], line["setting"]) for line in lines}
    ordered = [(name, setting) for name in material.experiments for setting in settings_of(material, name)]
    return [place for place in ordered if place in places]


def _printed(lines: Sequence[Mapping[Hashable, Any]], place: tuple[str, str]) -> bool:
    return any(line["listed"] for line in lines if (line["experiment"], line["setting"]) == place)


def _of_paper(material: Material, place: tuple[str, str]) -> bool:
    one = material.experiment(place[0])
    return one.status == "ready" and not one.extension


def _cell(line: Mapping[Hashable, Any], run: set[tuple[str, str]]) -> dict[Hashable, Any]:
    """A line as a cell; where nothing of its data set was run, the data set's name says so, and the cell does not."""
    if (line["experiment"], line["setting"]) in run:
        return dict(line)
    blank = ("\u00a0", "") if line["listed"] else (tables.NONE, "")
    return {**line, "words": blank, "compared": line["listed"]}


def _grid(
    material: Material,
    cells: Sequence[Mapping[Hashable, Any]],
    places: Sequence[tuple[str, str]],
    block: Sequence[str],
) -> Grid:
    mine = [dict(cell) for cell in cells if cell["method"] in block]
    columns = [method for method in block if any(cell["method"] == method for cell in mine)]
    return Grid(
        left=[(0.0, "data set")],
        sides=[(side_of(material, mine, place),) for place in places],
        columns=[
            head(material, method, any(cell["n"] for cell in mine if cell["method"] == method)) for method in columns
        ],
        cells=by_place(
            mine, list(places), columns, lambda cell: ((cell["experiment"], cell["setting"]), cell["method"])
        ),
    )


def side_of(material: Material, cells: Sequence[Mapping[Hashable, Any]], place: tuple[str, str]) -> str:
    """What stands beside a line: data set and setting, and whether it was not run, or is ours."""
    one = material.experiment(place[0])
    several = len(one.settings) > 1
    title = data_title(one.dataset) if one.status == "ready" and one.extension else one.title
    title = title.rpartition(", ")[0] or title if several else title  # the net is that of the paper
    where = f", {material.label(*place)}" if several else ""
    closed = any("words" in cell for cell in cells if (cell["experiment"], cell["setting"]) == place)
    what = " (not run)" if closed else " (ours)" if one.extension else ""
    return textwrap.fill(f"{title}{where}{what}".replace(" (not run)", " (not\u00a0run)"), SIDE)


def notes_of(material: Material, left_out: Sequence[tuple[str, str]]) -> list[str]:
    """Why data sets are not run, those of one reason together; what is left out; and what a stand-in is."""
    reasons: dict[str, list[str]] = {}
    for name in material.experiments:
        one = material.experiment(name)
        if one.status != "ready":
            reasons.setdefault((one.reason or "").replace("`", ""), []).append(one.title)
    notes = [f"{'; '.join(titles)}: not run. {reason}" for reason, titles in reasons.items()]
    if any(material.experiment(name).extension for name in material.experiments):
        notes.insert(0, "Ours: a stand-in, which decides a claim and never one of the paper's numbers")
    names = [
        f"{data_title(material.experiment(one).dataset)}, {material.label(one, setting)}" for one, setting in left_out
    ]
    return [*notes, f"Ours, not run: {'; '.join(names)}"] if names else notes
