"""Which classes HAR regularises how much: the strength of each class, by noise and rarity, a panel a setting.

Beside its bars, where they were run, what either half of the rule gives alone: class sizes, or held-out errors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from reweigh.analysis.rows import NUMBERS, Row, cell_names, summary_row
from reweigh.analysis.strengths import STRENGTH, class_rows
from reweigh.analysis.tables import Material
from reweigh.cells import CELLS
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.har.common import COLOURS, WORDS, cells_of, class_name, place_title, places_of
from reweigh.plots.style import INK, empty, entry, finish, letter, look_in, marker_style, sheet

COLUMNS = 2
ROW = 1.75  # inches: of a row of panels
APART = 0.6  # of a bar's place: between two cells
BESIDE: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 0.8}  # colours: cells


def rows(material: Material, method: str = "har") -> pd.DataFrame:
    """For each setting and method one line a class: the mean over seeds of its strength, and `class` its number."""
    lines: list[Row] = []
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            for name in material.methods(experiment, setting):
                cell = (experiment, setting, name)
                names = cell_names(material, *cell)
                found = class_rows(material, cell, STRENGTH)
                lines += [{**names, **line} for line in found]
                if not found and name == method:
                    none = summary_row(material.of(*cell).assign(**{STRENGTH: np.nan}), STRENGTH)
                    lines.append({**names, **none, "note": material.why_not(*cell)})
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, "class"]))).astype(
        {name: float for name in NUMBERS if name in data}
    )


@styled
def draw(material: Material, rows: pd.DataFrame, method: str = "har") -> Figure:
    """A panel for each setting that was run: bars of `method`, one a class, cell by cell; markers: other methods."""
    run = rows[rows["n"] > 0]
    places = places_of(run) or places_of(rows)[:1]
    columns = min(COLUMNS, len(places))
    picture, height = sheet(), -(-len(places) // columns)
    drawn = picture.subplots(height, columns, squeeze=False, sharey=True).ravel()
    for axes in drawn[len(places) :]:
        axes.set_axis_off()
    for number, (axes, place) in enumerate(zip(drawn, places, strict=False)):
        mine = run[(run["experiment"] == place[0]) & (run["setting"] == place[1])]
        _panel(axes, material, mine, method, place)
        letter(axes, LETTERS[number], place_title(material, *place))
        axes.set_ylabel("" if number % columns else "strength r (largest = 1)")
    shows = seeds_text(run if len(run) else rows, "whiskers: 95 % interval (Student t), cut at 0 and 1")
    absent = [place_title(material, *place) for place in places_of(rows) if place not in places]
    notes = ["Noisy: taken for one another; rare: a tenth as many training images as others"]
    notes += [f"Not run: {'; '.join(absent)}"] if absent and len(run) else []
    finish(picture, material, shows, [*notes, *missing_notes(material, run)], _legend(material, run, method),
           panels=0.3 + ROW * height)  # fmt: skip
    return Figure(picture, rows)


def _panel(axes: Axes, material: Material, rows: pd.DataFrame, method: str, place: tuple[str, str]) -> None:
    axes.set_ylim(0, 1.06)
    axes.tick_params(axis="x", length=0)
    if rows.empty:
        empty(axes, "not run")
        axes.set(xticks=[], yticks=[])
        return
    at, found = _positions(material, rows, place)
    colour_of = {label: COLOURS.get(cell, INK) for cell, labels in found.items() for label in labels}
    for line in rows[rows["method"] == method].to_dict("records"):
        x = at[int(line["class"])]
        axes.bar(x, line["mean"], 0.86, color=colour_of[int(line["class"])], zorder=2)
        if pd.notna(line["low"]):
            ends = np.clip([line["low"], line["high"]], 0, 1)
            axes.plot([x, x], ends, color=INK, linewidth=0.9, zorder=3)
    for name, mine in rows[rows["method"] != method].groupby("method", sort=False):
        style: dict[str, Any] = {**marker_style(look_in(material, str(name))), "markersize": 3.6, "linestyle": "none"}
        across = [at[int(label)] for label in mine["class"]]
        axes.plot(across, mine["mean"], **(style | BESIDE), zorder=4)
    names = [class_name(material, place[0], label) for label in at]
    long = max(map(len, names)) > 3
    axes.set_xticks(list(at.values()), names)
    if long:
        for text in axes.get_xticklabels():
            text.set(rotation=35, ha="right", rotation_mode="anchor", fontsize=6)
    axes.set_xlim(min(at.values()) - 0.7, max(at.values()) + 0.7)


def _positions(
    material: Material, rows: pd.DataFrame, place: tuple[str, str]
) -> tuple[dict[int, float], dict[str, list[int]]]:
    """Where each class stands, cells apart from one another; and the classes of each cell."""
    classes = sorted({int(label) for label in rows["class"]})
    found = cells_of(material, *place) or {"": classes}
    at, x = dict[int, float](), 0.0
    for labels in found.values():
        for label in labels:
            at[label] = x
            x += 1
        x += APART
    return at, found


def _legend(material: Material, rows: pd.DataFrame, method: str) -> list[tuple[Any, str]]:
    found = {cell for place in places_of(rows) for cell in cells_of(material, *place)}
    entries: list[tuple[Any, str]] = [(Patch(color=COLOURS[cell]), WORDS[cell]) for cell in CELLS if cell in found]
    others: Sequence[str] = [name for name in dict.fromkeys(rows["method"]) if name != method]
    return [*entries, *(_marker(material, name) for name in others)]


def _marker(material: Material, method: str) -> tuple[Any, str]:
    handle, text = entry(material, method)
    handle.set(linestyle="none", **BESIDE)
    return handle, text
