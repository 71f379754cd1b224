"""Two metrics against each other, a point a setting and a line a method: what is paid for what.

A method whose name is another's with `_threshold` at its end is that one with a class offset chosen afterwards, its
control: it is drawn hollow in the same look.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reweigh import metrics
from reweigh.analysis.rows import Row, cell_names, frame, summary_row
from reweigh.analysis.tables import Material
from reweigh.config.cards import Look
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS, looks_in
from reweigh.plots.style import MUTED, Legend, empty, entry_of, finish, letter, sheet

CONTROL = "_threshold"
DASHED = (0, (3, 1.5))
HEIGHT = 2.9  # inches: of the panels


def rows(material: Material, across: str, up: Sequence[str]) -> pd.DataFrame:
    """For each method and setting of the first experiment a line a metric: the one `across`, then those `up`."""
    experiment = material.experiments[0]
    lines: list[Row] = []
    for method in material.methods(experiment):
        for setting in material.settings(experiment):
            runs = material.of(experiment, setting, method)
            for metric in (across, *up):
                summary = summary_row(material.with_metric(runs, metric), metric)
                note = "" if summary["runs"] else material.why_not(experiment, setting, method)
                lines.append({**cell_names(material, experiment, setting, method), **summary, "note": note})
    return frame(lines)


@styled
def draw(material: Material, rows: pd.DataFrame, across: str, up: Sequence[str], varied: str) -> Figure:
    """A panel for each metric `up`: means with both intervals, a line in the order of the settings.

    `varied`: the symbol of what the settings vary, for the values beside the ends of each line.
    """
    picture = sheet()
    panels = picture.subplots(1, len(up), squeeze=False)[0]
    looks = looks_of(material, list(dict.fromkeys(rows["method"])))
    for place, (axes, metric) in enumerate(zip(panels, up, strict=True)):
        shown = rows[rows["metric"].isin([across, metric])]
        for method, mine in shown.groupby("method", sort=False):
            _series(axes, mine, across, metric, looks[str(method)])
        axes.set_xlabel(metrics.of(across).label)
        axes.set_ylabel(metrics.of(metric).label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x")
        letter(axes, LETTERS[place])
        if not (shown["n"] > 0).any():
            empty(axes, "not run")
            axes.set(xticks=[], yticks=[])
    several = (rows["n"] > 1).any()
    shows = seeds_text(rows, "bars: 95 % interval (Student t)" if several else "one seed has no interval")
    ends = f"Numbers beside points: {varied}, first and last"
    controls = "Hollow and dashed: with a class offset chosen on S_V afterwards"
    notes = [ends, controls, *missing_notes(material, rows[rows["metric"] == across])]
    finish(picture, material, shows, notes, _legend(material, rows, looks), panels=HEIGHT)
    return Figure(picture, rows)


def looks_of(material: Material, methods: Sequence[str]) -> dict[str, Look]:
    """The looks of methods; those of controls are their methods', hollow."""
    known = material.config.paper(material.paper).methods
    bases = [base if (base := method.removesuffix(CONTROL)) in known else method for method in methods]
    own = looks_in(material, list(dict.fromkeys(bases)))
    looks = {}
    for method in methods:
        base = method.removesuffix(CONTROL)
        controls = method != base and base in known
        looks[method] = own[base]._replace(hollow=True) if controls else own[method]
    return looks


def _series(axes: Axes, rows: pd.DataFrame, across: str, up: str, look: Look) -> None:
    """One method: a point at each setting that has both metrics, in the order of the settings."""
    sides = [rows[(rows["metric"] == metric) & (rows["n"] > 0)].set_index("setting") for metric in (across, up)]
    settings = [one for one in dict.fromkeys(rows["setting"]) if all(one in side.index for side in sides)]
    if not settings:
        return
    x, y = (side.loc[settings] for side in sides)
    line: dict[str, Any] = {"color": look.colour, "linestyle": DASHED if look.hollow else "-", "linewidth": 0.9}
    axes.plot(x["mean"], y["mean"], alpha=0.7, zorder=2, **line)
    face = "white" if look.hollow else look.colour
    style: dict[str, Any] = {"marker": look.marker, "markerfacecolor": face, "markeredgecolor": look.colour}
    axes.plot(x["mean"], y["mean"], linestyle="", markersize=4, markeredgewidth=0.9, zorder=4, **style)
    for side, place in ((x, "xerr"), (y, "yerr")):
        bars = np.array([side["mean"] - side["low"], side["high"] - side["mean"]]).clip(0)
        known = np.isfinite(bars).all(0)
        if known.any():
            bar: dict[str, Any] = {place: bars[:, known], "ecolor": look.colour, "elinewidth": 0.7, "alpha": 0.45}
            axes.errorbar(x["mean"][known], y["mean"][known], fmt=" ", zorder=1, **bar)
    for at in (0, -1) if len(settings) > 1 else (0,):
        words: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 5.5, "color": MUTED}
        axes.annotate(rows[rows["setting"] == settings[at]]["value"].iloc[0].rpartition(" = ")[2],
                      (x["mean"].iloc[at], y["mean"].iloc[at]), **words)  # fmt: skip


def _legend(material: Material, rows: pd.DataFrame, looks: dict[str, Look]) -> Legend:
    run = set(rows[rows["n"] > 0]["method"])
    return [
        entry_of(look, material.title(name) + ("" if name in run else " (not run)"), DASHED if look.hollow else "-")
        for name, look in looks.items()
    ]
