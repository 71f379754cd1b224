"""Several metrics by setting, each in a panel of its own: what a method did, beside what it ended with."""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reweigh.analysis.tables import Material
from reweigh.plots import by_setting
from reweigh.plots.axes import chance_line, error_axis
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.style import capitalised, finish, letter, sheet

LABELS = {
    "test_accuracy": "test accuracy",
    "effective_weight": "mean weight of a batch",
    "train_loss": "training loss",
}
LAST = {
    "effective_weight": "mean weights are over the last epoch",
    "train_loss": "the training loss is that of the last epoch's images, without their weights",
}
ROW = 1.95  # inches: of a row of panels
WIDE = 20.0  # a ratio of largest to smallest from which a logarithmic axis is the better one


class Facet(NamedTuple):
    """A panel: a metric of some methods (the artifact's if none are named) at settings of one experiment."""

    title: str
    experiment: str
    metric: str
    methods: Sequence[str] = ()
    settings: Sequence[str] = ()


def rows(material: Material, facets: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The lines of `by_setting` for each of `facets`, (title, experiment, metric[, methods[, settings]]).

    A facet whose methods the scale leaves out is none, where another is left.
    """
    frames = []
    for place, facet in enumerate(_kept(material, facets)):
        methods = facet.methods or material.methods(facet.experiment)
        panels = [("", methods, facet.settings)]
        lines = by_setting.rows(material, facet.metric, panels, facet.experiment)
        frames.append(lines.assign(panel=LETTERS[place], facet=place))
    return pd.concat(frames, ignore_index=True)


def _kept(material: Material, facets: Sequence[Sequence[Any]]) -> list[Facet]:
    """The facets that name no methods, or any that the scale has; all of them where that is none."""
    asked = list(starmap(Facet, facets))
    left_out = material.left_out
    return [
        one for one in asked if not one.methods or not all(left_out(one.experiment, method) for method in one.methods)
    ] or asked


@styled
def draw(material: Material, rows: pd.DataFrame, facets: Sequence[Sequence[Any]], columns: int = 3) -> Figure:
    """The panels in rows of `columns`, fewer where facets are left out; those of one metric share their limits."""
    asked = _kept(material, facets)
    columns = -(-len(asked) // -(-len(facets) // columns))
    lines = [of_facet for _, of_facet in rows.groupby("facet")]
    picture = sheet()
    height = -(-len(asked) // columns)
    drawn = picture.subplots(height, columns, squeeze=False).flat
    panels = list(drawn)
    for axes in panels[len(asked) :]:
        axes.set_axis_off()
    for place, (axes, facet, mine) in enumerate(zip(panels, asked, lines, strict=False)):
        same = place % columns and asked[place - 1].metric == facet.metric
        by_setting.panel(axes, material, mine, "" if same else LABELS.get(facet.metric, facet.metric), dashed=False)
        if same:
            axes.tick_params(axis="y", labelleft=False)
        below = asked[place + columns] if place + columns < len(asked) else None
        hidden = below is not None and below.experiment == facet.experiment
        axes.set_xlabel("" if hidden else material.experiment(facet.experiment).varies.partition(" = ")[0])
        letter(axes, LETTERS[place], facet.title)
    for metric in dict.fromkeys(facet.metric for facet in asked):
        mine = [axes for axes, facet in zip(panels, asked, strict=False) if facet.metric == metric]
        _vertical(mine, metric, rows[rows["metric"] == metric])
    for axes, facet in zip(panels, asked, strict=False):
        if facet.metric.endswith("accuracy"):
            chance_line(axes, material, facet.experiment)
    several = any(of_facet["method"].nunique() > 1 for of_facet in lines)  # else titles say it
    legend = by_setting.legend(material, [rows], dashed=False) if several else []
    last = "; ".join(text for metric, text in LAST.items() if (rows["metric"] == metric).any())
    notes = [capitalised(last)] if last else []
    notes += missing_notes(material, rows[rows["metric"] == asked[0].metric])
    shows = seeds_text(rows, by_setting.SHOWS)
    finish(picture, material, shows, notes, legend, panels=0.3 + ROW * height)
    return Figure(picture, rows)


def _vertical(panels: Sequence[Axes], metric: str, rows: pd.DataFrame) -> None:
    """One scale and the same limits for all panels of a metric: errors for accuracies, logarithmic where it is wide."""
    shown = rows[rows["n"] > 0]["mean"].astype(float).dropna()
    for axes in panels:
        if metric.endswith("accuracy"):
            error_axis(axes, shown)
        elif len(shown) and shown.min() > 0 and shown.max() / shown.min() > WIDE:
            axes.set_yscale("log")
            axes.set_ylim(shown.min() / 1.6, shown.max() * 1.6)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if shown.max() / shown.min() < 300 else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(0, 1.06 * float(np.max(shown)) if len(shown) and shown.max() > 0 else 1)
