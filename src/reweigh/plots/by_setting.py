"""A metric after the last epoch at every setting of an experiment, method by method; several panels if need be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import NUMBERS, Row, cell_names, of_cells, of_seeds, results, single_row, summary_row
from reweigh.analysis.tables import Material
from reweigh.config.cards import Look
from reweigh.plots.axes import chance_line, error_axis, limits
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import of_scale
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS, chosen, is_extra, looks_in, short_title
from reweigh.plots.style import BAND, MUTED, Legend, empty, entry_of, finish, letter, marker_style, sheet

DASHED = (0, (4, 2))
SHOWS = "bars: 95 % interval (Student t), dots: single seeds"
LOGARITHMIC = "\n(logarithmic in 1 − accuracy)"
HEIGHT = 2.5  # inches: of the panels
STEP, REACH = 0.1, 0.42  # of settings' distance: between methods, and what all methods of a setting may take


def rows(
    material: Material, metric: str = "test_accuracy", panels: Sequence[Sequence[Any]] = (), experiment: str = ""
) -> pd.DataFrame:
    """For each method a line per setting and seed, then one per setting with all seeds, panel by panel.

    `panels` are (title, methods[, settings]), see `panels.chosen`; without them all is one panel without a letter.
    Of the first experiment, unless it is named.
    """
    experiment = experiment or material.experiments[0]
    lines: list[Row] = []
    for place, (_, methods, settings) in enumerate(chosen(material, experiment, panels)):
        for method in methods:
            runs = {setting: runs_of(material, experiment, setting, method, metric) for setting in settings}
            cells = [_cell(material, experiment, setting, method, metric, runs[setting]) for setting in settings]
            singles = [line for cell in cells for line in _singles(cell, runs[cell["setting"]], metric)]
            of_panel: Row = {"panel": LETTERS[place]} if panels else {}
            lines += [{**of_panel, **line} for line in [*singles, *cells]]
    data = pd.DataFrame(lines)
    return data.astype({name: float for name in NUMBERS if name in data})


def runs_of(material: Material, experiment: str, setting: str, method: str, metric: str) -> pd.DataFrame:
    """The runs of a cell with a column of the metric; one that only curves have is taken after the last epoch."""
    return material.with_metric(material.of(experiment, setting, method), metric)


def _cell(material: Material, experiment: str, setting: str, method: str, metric: str, runs: pd.DataFrame) -> Row:
    published, published_sd = material.published_value(experiment, setting, method, metric)
    summary = summary_row(runs, metric)
    return {
        **cell_names(material, experiment, setting, method),
        "seed": None,
        "published": published,
        "published_sd": published_sd,
        **summary,
        "note": "" if summary["runs"] else material.why_not(experiment, setting, method),
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
def draw(
    material: Material,
    rows: pd.DataFrame,
    ylabel: str = "test accuracy",
    panels: Sequence[Sequence[Any]] = (),
    errors: bool = True,
) -> Figure:
    """Settings in the paper's order; points are means, dots single seeds; a panel for each of `panels`.

    `errors`: the axis is logarithmic in 1 − accuracy, so that .98 and .99 stay apart beside a method at chance.
    """
    titles = [one.title for one in chosen(material, rows["experiment"].iloc[0], panels)]
    by_panel = [lines for _, lines in rows.groupby("panel")] if panels else [rows]
    picture = sheet(width=7.0 if len(by_panel) > 1 else 4.8)
    drawn = picture.subplots(1, len(by_panel), sharey=True, squeeze=False)[0]
    for place, (axes, title, lines) in enumerate(zip(drawn, titles, by_panel, strict=True)):
        panel(axes, material, lines, f"{ylabel}{LOGARITHMIC if errors else ''}" if place == 0 else "")
        if panels:
            letter(axes, LETTERS[place], title)
    vertical(drawn, material, rows, errors)
    shows = seeds_text(rows, SHOWS)
    finish(picture, material, shows, missing_notes(material, rows), legend(material, by_panel), panels=HEIGHT)
    return Figure(picture, rows)


def vertical(panels: Sequence[Axes], material: Material, rows: pd.DataFrame, errors: bool) -> None:
    """Scale and limits of the axis of accuracies that all panels share, and where chance lies."""
    shown = rows[rows["n"] > 0]["mean"]
    if errors:
        error_axis(panels[0], shown)
    else:
        panels[0].set_ylim(*limits(shown))
    for axes in panels:
        chance_line(axes, material, rows["experiment"].iloc[0])


def panel(axes: Axes, material: Material, rows: pd.DataFrame, ylabel: str, dashed: bool = True) -> None:
    """Draw mean, interval and seeds of every method at every setting of the scale, and a line from mean to mean.

    The methods of a setting stand close together about its tick, on a band of its own. `dashed`: the lines of methods
    that stand beside those of the paper's figure.
    """
    cells, seeds = of_scale(material, of_cells(rows), "setting"), of_seeds(rows)
    experiment, settings = rows["experiment"].iloc[0], list(dict.fromkeys(cells["setting"]))
    methods = list(dict.fromkeys(rows["method"]))
    looks = looks_in(material, methods)
    for place in range(0, len(settings), 2):
        axes.axvspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
    for shift, method in zip(dodges(len(methods)), methods, strict=True):
        mine = cells[(cells["method"] == method) & (cells["n"] > 0)]
        places = mine["setting"].map(settings.index).to_numpy(float) + shift
        optional = dashed and is_extra(material, experiment, method)
        _line(axes, places, mine, looks[method], DASHED if optional else "-")
        for x, setting in zip(places, mine["setting"], strict=True):
            dots = seeds[(seeds["method"] == method) & (seeds["setting"] == setting)]["mean"]
            style: dict[str, Any] = {"color": looks[method].colour, "markersize": 3, "alpha": 0.55, "zorder": 2.5}
            axes.plot(np.full(len(dots), x), dots, ".", **style)
    axes.set_xticks(range(len(settings)), [material.label(experiment, setting) for setting in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xlabel(material.experiment(experiment).varies)
    axes.set_ylabel(ylabel)
    if not (rows["n"] > 0).any():
        empty(axes, material.why_empty(experiment))
    elif len(methods) == 1:  # of several, the notes say where each was not run
        _gaps(axes, cells[cells["n"] == 0], settings)


def _gaps(axes: Axes, cells: pd.DataFrame, settings: list[str]) -> None:
    """Say at the tick of each cell without a mean why it has none: not run, or all its runs diverged."""
    for cell in cells.itertuples():
        style: dict[str, Any] = {"rotation": 90, "fontsize": 6, "color": MUTED, "style": "italic"}
        place = (settings.index(cell.setting), 0.5)
        axes.annotate(cell.status, place, xycoords=("data", "axes fraction"), ha="center", va="center", **style)


def dodges(methods: int) -> np.ndarray:
    """How far each of some methods stands from its setting's tick: the same to both sides.

    >>> dodges(3).round(2).tolist(), dodges(1).tolist()
    ([-0.1, 0.0, 0.1], [0.0])
    """
    step = min(STEP, REACH / max(1, methods - 1))
    return step * (np.arange(methods) - (methods - 1) / 2)


def _line(axes: Axes, places: np.ndarray, cells: pd.DataFrame, look: Look, line: Any) -> None:
    """One method: its means with markers, a line through them, and their intervals."""
    if cells.empty:
        return
    axes.plot(places, cells["mean"], color=look.colour, linewidth=0.9, alpha=0.6, linestyle=line, zorder=2)
    axes.plot(places, cells["mean"], linestyle="none", zorder=4, **marker_style(look))
    for x, low, high in zip(places, cells["low"], cells["high"], strict=True):
        if pd.notna(low):
            axes.plot([x, x], [low, high], color=look.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)


def legend(material: Material, by_panel: Sequence[pd.DataFrame], dashed: bool = True) -> Legend:
    """An entry for each method, which says where it was not run; the same method in two panels has one.

    Where panels state the values, titles do not.
    """
    lines: dict[tuple[str, Look], Any] = {}
    shown: set[tuple[str, Look]] = set()
    for rows in by_panel:
        run, methods = set(rows[rows["n"] > 0]["method"]), list(dict.fromkeys(rows["method"]))
        for method, look in looks_in(material, methods).items():
            name = (short_title(material, method) if len(by_panel) > 1 else material.title(method), look)
            lines[name] = DASHED if dashed and is_extra(material, rows["experiment"].iloc[0], method) else "-"
            shown |= {name} if method in run else set()
    return [entry_of(name[1], name[0] + ("" if name in shown else " (not run)"), line) for name, line in lines.items()]
