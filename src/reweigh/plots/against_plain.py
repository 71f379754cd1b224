"""What methods gain over plain training on a data set of one's own, and what they cost: `reweigh compare`."""

from typing import Any

import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes

from reweigh.analysis.against_plain import METRIC, SECONDS, SHOWN, current, lines, plain_of, remarks, sentence
from reweigh.analysis.gains import TIMES
from reweigh.analysis.rows import DIFFERENCE, Row, cell_names, frame, paired_row, summary_row
from reweigh.analysis.tables import Material
from reweigh.plots.costs import frame as frame_of_costs
from reweigh.plots.costs import run_row
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import means_text
from reweigh.plots.style import INK, MUTED, RC, SMALL, capitalised, empty, finish, letter, look_in, marker_style, sheet

LINE = 0.24  # inches: of a method
PANELS = "abcdefgh"


def rows(material: Material) -> pd.DataFrame:
    """For each experiment and method: means of what is measured and of its seconds, its gain, its relative cost."""
    material = current(material)
    found: list[Row] = []
    for experiment, letter_ in zip(material.experiments, PANELS, strict=False):
        setting, *_ = material.settings(experiment)
        methods = material.methods(experiment)
        against = plain_of(material)
        others = material.of(experiment, setting, against)
        for method in methods:
            cell = (experiment, setting, method)
            named: Row = {"panel": letter_, **cell_names(material, *cell)}
            runs = material.of(*cell)
            why = "" if len(runs) else material.why_not(*cell)
            for metric in (*SHOWN, SECONDS):
                summary = summary_row(material.with_metric(runs, metric), metric)
                if summary["n"] or metric == METRIC:  # data without groups have no worst group
                    found.append({**named, **summary, "note": why})
            if method != against:
                found.append({**named, "against": against, **paired_row(runs, others, METRIC), "note": why})
                found.append({**run_row(material, cell, against), "panel": letter_})
    return frame(found)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """For each experiment two panels: gains in points with their intervals, costs as multiples of plain training."""
    shown = [name for name in material.experiments if (rows["experiment"] == name).any()]
    methods = {name: _methods(material, name) for name in shown}
    heights = [len(methods[name]) + 0.6 for name in shown]
    picture = sheet()
    grid = picture.subplots(len(shown), 2, squeeze=False, sharex="col", height_ratios=heights, width_ratios=[1.7, 1])
    for (gains, costs), name in zip(grid, shown, strict=True):
        _gains(gains, material, rows[rows["experiment"] == name], methods[name])
        _costs(costs, rows[rows["experiment"] == name], methods[name])
        letter(gains, PANELS[shown.index(name)], material.experiment(name).varies)
    grid[-1][0].set_xlabel("points of balanced accuracy over plain training")
    grid[-1][1].set_xlabel("times the seconds of plain training")
    found, gained = lines(material), rows[rows["metric"] == f"{METRIC}{DIFFERENCE}"]
    title = drawable(material.experiment(shown[0]).title, material.paper)
    shows = f"{title}. {capitalised(means_text(gained))}"
    notes = [capitalised(sentence(found)), *remarks(found)]
    finish(picture, material, shows, notes, panels=0.7 + LINE * sum(heights))
    return Figure(picture, rows)


def _methods(material: Material, experiment: str) -> list[str]:
    """The methods of an experiment but for plain training, in their order."""
    methods = material.methods(experiment)
    against = plain_of(material)
    return [name for name in methods if name != against]


def _gains(axes: Axes, material: Material, rows: pd.DataFrame, methods: list[str]) -> None:
    gains = rows[rows["metric"] == f"{METRIC}{DIFFERENCE}"].set_index("method")
    for place, method in enumerate(methods):
        row, chosen = gains.loc[method], look_in(material, method)
        if not row["n"]:
            axes.text(
                0, place, str(row["note"] or row["status"]), color=MUTED, style="italic", va="center", fontsize=SMALL
            )
            continue
        if pd.notna(row["low"]):
            axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=chosen.colour, linewidth=1.2)
        axes.plot([100 * row["mean"]], [place], linestyle="", **marker_style(chosen))
    if not gains["n"].gt(0).any():
        axes.set_xticks([])
    titles = dict(zip(rows["method"], rows["title"], strict=True))
    axes.set_yticks(range(len(methods)), [titles[method] for method in methods], color=INK)
    _ruled(axes, len(methods), 0.0)


def _costs(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    costs = rows[rows["metric"] == TIMES].set_index("method")
    for place, method in enumerate(methods):
        if costs.loc[method, "n"]:
            value = costs.loc[method, "mean"]
            axes.plot([0, value], [place, place], color="#c9c9c9", linewidth=3, solid_capstyle="butt")
            axes.annotate(
                f"{value:.2f}", (value, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
    if costs["n"].gt(0).any():
        frame_of_costs(axes, costs.assign(y=costs["mean"], q3=costs["mean"]), len(methods), 1.25)
    else:
        empty(axes, "no pair on one device")
        axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylim(len(methods) - 0.4, -0.6)


def _ruled(axes: Axes, count: int, at: float) -> None:
    axes.axvline(at, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(count - 0.4, -0.6)


# --- titles in any script --------------------------------------------------------------------------------------------


def drawable(text: str, otherwise: str) -> str:
    """The text, if the font of figures has all of its letters; else what may stand in its place."""
    path = font_manager.findfont(str(RC["font.family"]))
    glyphs: Any = font_manager.get_font(path)
    return text if all(glyphs.get_char_index(ord(letter_)) for letter_ in text) else otherwise
