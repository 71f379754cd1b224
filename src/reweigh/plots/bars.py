"""Grouped bars: every method at every setting, with the published numbers as hollow diamonds."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reweigh.analysis.rows import Row, cell_names, frame, summary_row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.style import INK, MUTED, finish, letter, look_in, sheet

DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 4,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.8,
}
FILLED = 0.84  # share of a group's place that its bars fill
PANELS = "abcdef"


def rows(material: Material, metric: str = "test_accuracy") -> pd.DataFrame:
    """One line per setting and method: `metric` after the last epoch, with the published number beside ours."""
    lines = [
        _line(material, experiment, setting, method, metric, panel)
        for panel, experiment in zip(PANELS, material.experiments, strict=False)
        for method in material.methods(experiment)
        for setting in material.settings(experiment)
    ]
    data = frame(lines)
    return data if len(material.experiments) > 1 else data.drop(columns="panel")


def _line(material: Material, experiment: str, setting: str, method: str, metric: str, panel: str) -> Row:
    published, published_sd = material.published_value(experiment, setting, method, metric)
    summary = summary_row(material.of(experiment, setting, method), metric)
    return {
        "panel": panel,
        **cell_names(material, experiment, setting, method),
        "published": published,
        "published_sd": published_sd,
        **summary,
        "note": "" if summary["runs"] else material.why_not(experiment, setting, method),
    }


@styled
def draw(material: Material, rows: pd.DataFrame, ylabel: str = "test accuracy") -> Figure:
    """One panel an experiment: bars are means after the last epoch, whiskers 95 % intervals, diamonds the paper's."""
    experiments = list(dict.fromkeys(rows["experiment"]))
    picture = sheet(0.9 + 2.3 * len(experiments))
    panels = picture.subplots(len(experiments), 1, squeeze=False)[:, 0]
    for name, axes, experiment in zip(PANELS, panels, experiments, strict=False):
        _panel(axes, material, rows[rows["experiment"] == experiment])
        axes.set_ylabel(ylabel)
        if len(experiments) > 1:
            letter(axes, name, material.experiment(experiment).title)
    shows = seeds_text(rows, "whiskers: 95 % interval (Student t)", "diamonds: the paper's mean ± sd")
    finish(picture, material, shows, missing_notes(material, rows, gaps=False), _legend(material, rows))
    return Figure(picture, rows)


def _panel(axes: Axes, material: Material, rows: pd.DataFrame) -> None:
    labels, methods = list(dict.fromkeys(rows["value"])), list(dict.fromkeys(rows["method"]))
    settings = list(dict.fromkeys(rows["setting"]))
    width = FILLED / max(1, len(methods))
    for row in rows.to_dict("records"):
        place = methods.index(row["method"])
        x = settings.index(row["setting"]) + (place - (len(methods) - 1) / 2) * width
        _bar(axes, x, width, row, look_in(material, row["method"]).colour)
        if pd.notna(row["published"]):
            _diamond(axes, x, row["published"], row["published_sd"])
    axes.set_xticks(range(len(settings)), labels)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xlabel(material.experiment(rows["experiment"].iloc[0]).varies)
    axes.set_ylim(0, 1.02)


def _bar(axes: Axes, x: float, width: float, row: Mapping[Hashable, Any], colour: str) -> None:
    """A bar with its whisker, or the words that it has none: not run, or all of its runs diverged."""
    if not row["n"]:
        style: dict[str, Any] = {"rotation": 90, "fontsize": 6, "color": MUTED, "style": "italic"}
        axes.text(x, 0.015, row["status"], ha="center", va="bottom", **style)
        return
    axes.bar(x, row["mean"], width * 0.92, color=colour, alpha=0.85, zorder=2)
    if pd.notna(row["low"]):
        axes.plot([x, x], [row["low"], row["high"]], color=INK, linewidth=0.9, zorder=3)


def _diamond(axes: Axes, x: float, published: float, sd: float) -> None:
    if pd.notna(sd):
        for width, colour in ((2.0, "white"), (0.8, INK)):  # seen on a bar of any colour
            axes.plot([x, x], [published - sd, published + sd], color=colour, linewidth=width, zorder=4)
    axes.plot(x, published, zorder=5, **DIAMOND)


def _legend(material: Material, rows: pd.DataFrame) -> list[tuple[Any, str]]:
    entries: list[tuple[Any, str]] = [
        (Patch(color=look_in(material, method).colour, alpha=0.85), material.title(method))
        for method in dict.fromkeys(rows["method"])
    ]
    return [*entries, (Line2D([], [], linestyle="none", **DIAMOND), "published")]
