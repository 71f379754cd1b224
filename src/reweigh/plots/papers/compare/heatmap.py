"""A heat map of gains, methods by settings: who gains where."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, TwoSlopeNorm
from matplotlib.patches import Rectangle

from reweigh.analysis.across import Place
from reweigh.analysis.rows import frame
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.papers.compare import grounds
from reweigh.plots.style import INK, MUTED, finish, sheet

LINE = 0.2  # inches: of a method
COLOURS = "PuOr"  # both ends are told apart by any colour vision, and by their darkness from the middle
LEAST = 0.01  # the colours go so far at least: a point
QUANTILE = 0.95  # of the sizes of all gains: where the colours end, so that one outlier does not whiten the rest


def rows(material: Material) -> pd.DataFrame:
    """A line for each setting and method: its gain over plain training."""
    return frame(grounds.gain_rows(material))


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A square a cell with its gain in points; dots: Holm at the setting; grey: not run; hatched: decides nothing.

    Methods stand by their mean gain over the settings, the best first; those without any come last.
    """
    places, methods = grounds.drawn(material, rows)
    methods.remove(grounds.baseline(material))
    known = rows[rows["mean"].notna()]
    means = known.groupby("method")["mean"].mean()
    methods.sort(key=lambda method: -means.get(method, -np.inf))
    sizes = known["mean"].abs()
    end = max(LEAST, float(sizes.quantile(QUANTILE))) if len(sizes) else LEAST
    picture = sheet()
    axes = picture.subplots()
    colours, norm = _colours(), TwoSlopeNorm(0, -end, end)
    for line in rows.to_dict("records"):
        place = Place(line["experiment"], line["setting"])
        if place in places and line["method"] in methods:
            _cell(axes, line, places.index(place), methods.index(line["method"]), colours, norm)
    _frame(axes, material, places, methods)
    bar = picture.colorbar(_scale(colours, norm), ax=axes, fraction=0.025, pad=0.015, extend="both")
    bar.set_label(f"gain over {material.title(grounds.baseline(material))}, points", fontsize=7)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.grid(visible=False)
    bar.ax.yaxis.set_major_formatter(lambda value, place: grounds.points(value).rstrip("0").rstrip("."))
    notes = [*grounds.missing(material, rows), *grounds.doubts(material, rows)]
    finish(picture, material, _shows(known), notes, panels=0.75 + LINE * len(methods))
    return Figure(picture, rows)


def _colours() -> Colormap:
    import matplotlib

    return matplotlib.colormaps[COLOURS].reversed()


def _scale(colours: Colormap, norm: TwoSlopeNorm) -> Any:
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(norm, colours)


def _cell(
    axes: Axes, line: Mapping[Hashable, Any], column: int, row: int, colours: Colormap, norm: TwoSlopeNorm
) -> None:
    corner: Any = (column - 0.5, row - 0.5)
    if pd.isna(line["mean"]):
        _square(axes, corner, "#ececec", line)
        return
    shade = colours(float(norm(line["mean"])))
    dark = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2] < 0.5
    ink = "white" if dark else INK
    _square(axes, corner, shade, line)
    told = grounds.decides(line)
    axes.text(column, row, grounds.points(line["mean"]), ha="center", va="center", fontsize=6.8, color=ink,
              weight="bold" if told else "normal")  # fmt: skip
    if told:
        axes.plot(column + 0.39, row - 0.27, "o", color=ink, markersize=2.2)


def _square(axes: Axes, corner: Any, colour: Any, line: Mapping[Hashable, Any]) -> None:
    lost = bool(grounds.lost(line))
    axes.add_patch(
        Rectangle(corner, 1, 1, facecolor=colour, edgecolor=MUTED if lost else "white", linewidth=0.8,
                  hatch="////" if lost else None)
    )  # fmt: skip


def _frame(axes: Axes, material: Material, places: list[Place], methods: list[str]) -> None:
    axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    heads = [grounds.head(material, place, 13) for place in places]
    axes.set_xticks(range(len(places)), heads, fontsize=6.2, color=INK, linespacing=1.05)
    axes.set_yticks(range(len(methods)), [material.title(method) for method in methods], color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    end = -0.5
    for of in grounds.kinds_of(material, places).values():
        if end > 0:
            axes.axvline(end, color=INK, linewidth=1.2)
        end += len(of)


def _shows(known: pd.DataFrame) -> str:
    if known.empty:
        return "Nothing of ours was run"
    return (
        f"Gain in the mean accuracy of the groups in points, mean over pairs of {count_text(known)} after the last "
        "epoch; dot and bold: a difference by paired t tests, Holm over the methods at the setting; hatched: a "
        "run diverged, predicts one class or did not move, so that the gain decides nothing; grey: no gain. Colours "
        "end at the "
        f"{100 * QUANTILE:.0f} % quantile of the sizes of gains"
    )
