"""A metric after the last epoch at every setting of an experiment, method by method."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import NUMBERS, Row, cell_names, of_cells, of_seeds, results, single_row, summary_row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.style import Legend, empty, entry, finish, look_in, marker_style, sheet

DASHED = (0, (4, 2))
SHOWS = "bars: 95 % interval (Student t), dots: single seeds"


def rows(material: Material, metric: str = "test_accuracy") -> pd.DataFrame:
    """For each method of the first experiment a line per setting and seed, then one per setting with all seeds."""
    experiment = material.experiments[0]
    lines: list[Row] = []
    for method in material.methods(experiment):
        cells = [_cell(material, experiment, setting, method, metric) for setting in material.settings(experiment)]
        for cell in cells:
            lines += _singles(cell, material.of(experiment, cell["setting"], method), metric)
        lines += cells
    data = pd.DataFrame(lines)
    return data.astype({name: float for name in NUMBERS if name in data})


def _cell(material: Material, experiment: str, setting: str, method: str, metric: str) -> Row:
    published, published_sd = material.published_value(experiment, setting, method, metric)
    return {
        **cell_names(material, experiment, setting, method),
        "seed": None,
        "published": published,
        "published_sd": published_sd,
        **summary_row(material.of(experiment, setting, method), metric),
    }


def _singles(cell: Row, runs: pd.DataFrame, metric: str) -> list[Row]:
    """One line for each seed's dot."""
    names: Row = {
        "experiment": cell["experiment"],
        "setting": cell["setting"],
        "value": cell["value"],
        "method": cell["method"],
        "title": cell["title"],
    }
    known = results(runs, metric).to_dict("records")
    return [{**names, "seed": run["seed"], **single_row(run, metric)} for run in known]


@styled
def draw(material: Material, rows: pd.DataFrame, ylabel: str = "test accuracy") -> Figure:
    """One panel, settings in the paper's order; points are means, dots single seeds."""
    picture = sheet(3.6, width=4.6)
    panel(picture.subplots(), material, rows, ylabel)
    shows = seeds_text(rows, SHOWS)
    finish(picture, material, shows, missing_notes(material, rows), legend(material, rows))
    return Figure(picture, rows)


def panel(axes: Axes, material: Material, rows: pd.DataFrame, ylabel: str) -> None:
    """Draw mean, interval and seeds of every method at every setting."""
    cells, seeds = of_cells(rows), of_seeds(rows)
    experiment, settings = rows["experiment"].iloc[0], list(dict.fromkeys(cells["setting"]))
    methods = list(dict.fromkeys(rows["method"]))
    for place, method in enumerate(methods):
        shift = 0.13 * (place - (len(methods) - 1) / 2)
        mine = cells[(cells["method"] == method) & (cells["n"] > 0)]
        places = mine["setting"].map(settings.index).to_numpy(float) + shift
        _line(axes, material, places, mine)
        for x, setting in zip(places, mine["setting"], strict=True):
            dots = seeds[(seeds["method"] == method) & (seeds["setting"] == setting)]["mean"]
            style: dict[str, Any] = {"color": look_in(material, method).colour, "markersize": 2.5, "alpha": 0.6}
            axes.plot(np.full(len(dots), x + 0.045), dots, ".", **style)
    axes.set_xticks(range(len(settings)), [material.label(experiment, setting) for setting in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xlabel(material.experiment(experiment).varies)
    axes.set_ylabel(ylabel)
    shown = rows[rows["n"] > 0]["mean"]
    axes.set_ylim(max(0.0, shown.min() - 0.06) if len(shown) else 0, 1.01)
    if shown.empty:
        empty(axes, "not run")


def _line(axes: Axes, material: Material, places: np.ndarray, cells: pd.DataFrame) -> None:
    """One method: its means with markers, a line through them, and their intervals."""
    if cells.empty:
        return
    experiment, method = cells[["experiment", "method"]].iloc[0]
    chosen, line = look_in(material, method), DASHED if material.is_optional(experiment, method) else "-"
    axes.plot(places, cells["mean"], color=chosen.colour, linewidth=0.9, alpha=0.7, linestyle=line)
    axes.plot(places, cells["mean"], linestyle="none", zorder=4, **marker_style(chosen))
    for x, low, high in zip(places, cells["low"], cells["high"], strict=True):
        if pd.notna(low):
            axes.plot([x, x], [low, high], color=chosen.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)


def legend(material: Material, rows: pd.DataFrame) -> Legend:
    """An entry for each method, which says where it was not run."""
    run, experiment = set(rows[rows["n"] > 0]["method"]), rows["experiment"].iloc[0]
    return [
        entry(material, method, material.title(method) + ("" if method in run else " (not run)"),
              DASHED if material.is_optional(experiment, method) else "-")
        for method in dict.fromkeys(rows["method"])
    ]  # fmt: skip
