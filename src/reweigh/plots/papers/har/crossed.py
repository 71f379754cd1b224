"""Noise and rarity apart: how strongly each class is regularised by its error and size, and which classes gain by it.

Where the noisy classes are the rare ones, nothing can tell what a strength, or a gain, follows. Here each kind of class
is there: noisy and rare, noisy, rare, neither.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from reweigh.analysis.rows import NUMBERS, Row, cell_names, summary_row
from reweigh.analysis.strengths import ERROR, OF_CLASSES, STRENGTH, class_rows
from reweigh.analysis.tables import Material
from reweigh.cells import CELLS
from reweigh.plots import gains_by_metric
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import means_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.har.common import COLOURS, WORDS, cells_of, class_name, place_title
from reweigh.plots.style import INK, MUTED, empty, finish, sheet

ROW = 2.75  # inches: of a setting
MARKERS = {"rare": "^", "common": "o"}
SQUARE = (("clean_common", "clean_rare"), ("noisy_common", "noisy_rare"))  # panels, from the top left
EXPONENT = 0.6  # of the error in the strengths


def rows(
    material: Material, places: Sequence[tuple[str, str]], methods: Sequence[str], against: str = "erm"
) -> pd.DataFrame:
    """For each of `places` (experiment, setting) strength and error of each class under HAR, `class` its number.

    Then for each of `methods` what it gains `against` plain training in each cell of classes, seed by seed.
    """
    frames: list[pd.DataFrame] = []
    for number, (experiment, setting) in enumerate(places):
        cell = (experiment, setting, "har")
        names = cell_names(material, *cell)
        lines: list[Row] = [{**names, **line} for metric in OF_CLASSES for line in class_rows(material, cell, metric)]
        if not lines:
            none = summary_row(material.of(*cell).assign(**{STRENGTH: np.nan}), STRENGTH)
            lines = [{**names, **none, "note": material.why_not(*cell)}]
        frames.append(pd.DataFrame(lines).assign(panel=LETTERS[2 * number], place=number))
        block = (experiment, setting, against, [("", methods)])
        gains = gains_by_metric.rows(material, [block], [(f"accuracy_{name}", "") for name in CELLS])
        frames.append(gains.assign(panel=LETTERS[2 * number + 1], place=number))
    data = pd.concat(frames, ignore_index=True)
    data = data.reindex(columns=list(dict.fromkeys([*data, "class"])))
    return data.astype({name: float for name in NUMBERS if name in data})


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """For each setting that has runs: strengths over held-out errors, and gains by cell, two by two, on one scale."""
    run = rows.groupby("place")["n"].transform("max") > 0
    shown = rows[run] if run.any() else rows[rows["place"] == 0]
    blocks = [of for _, of in shown.groupby("place")]
    picture = sheet()
    parts = picture.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, of in zip(parts, blocks, strict=True):
        left, right = part.subfigures(1, 2, width_ratios=(1, 1.85))
        classes = of["metric"].isin(OF_CLASSES)
        _strengths(left.subplots(), material, of[classes])
        _gains(right, material, of[~classes])
        place = tuple(of[["experiment", "setting"]].iloc[0])
        first, second = of["panel"].iloc[0], of["panel"].iloc[-1]
        left.suptitle(f"{first}  {place_title(material, *place)}", x=0.02, ha="left", fontsize=8, weight="bold")
        against = material.title(of[~classes]["against"].iloc[0])
        right.suptitle(f"{second}  gain over {against}", x=0.02, ha="left", fontsize=8, weight="bold")
    absent = [of for number, of in rows.groupby("place") if number not in set(shown["place"])]
    notes = _notes(material, shown, absent)
    finish(picture, material, _shows(shown), notes, _legend(material, blocks), panels=0.2 + ROW * len(blocks))
    return Figure(picture, rows)


# --- strengths -------------------------------------------------------------------------------------------------------


def _strengths(axes: Axes, material: Material, rows: pd.DataFrame) -> None:
    """A point a class, with both intervals, and for rare and for common classes the line of the rule."""
    known = rows[rows["n"] > 0]
    axes.set_xlabel("held-out error e (given labels)")
    axes.set_ylabel("strength r (largest = 1)")
    if known.empty:
        empty(axes, "not run")
        axes.set(xticks=[], yticks=[])
        return
    experiment, setting = known[["experiment", "setting"]].iloc[0]
    errors, strengths = (known[known["metric"] == metric].set_index("class") for metric in (ERROR, STRENGTH))
    logarithmic = bool((errors["mean"] > 0).all() and (strengths["mean"] > 0).all())
    for cell, labels in cells_of(material, experiment, setting).items():
        for label in labels:
            _class(axes, errors.loc[label], strengths.loc[label], cell, logarithmic)
    _lines(axes, errors, strengths, cells_of(material, experiment, setting))
    if logarithmic:
        _logarithmic(axes, errors, strengths)
    else:
        axes.set(xlim=(0, None), ylim=(0, 1.1))
    axes.grid(axis="x")


def _class(axes: Axes, error: pd.Series, strength: pd.Series, cell: str, logarithmic: bool) -> None:
    x, y, colour = error["mean"], strength["mean"], COLOURS[cell]
    least = 1e-4 if logarithmic else 0.0
    for side, ends in ((error, "x"), (strength, "y")):
        if pd.notna(side["low"]):
            span = [max(least, side["low"]), max(least, side["high"])]
            across = (span, [y, y]) if ends == "x" else ([x, x], span)
            axes.plot(*across, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    axes.plot(x, y, MARKERS[cell.partition("_")[2]], color=colour, markersize=5, zorder=4)


def _lines(axes: Axes, errors: pd.DataFrame, strengths: pd.DataFrame, found: Mapping[str, Sequence[int]]) -> None:
    """r ∝ e^0.6 through the rare classes, and through the common ones."""
    x = np.geomspace(max(1e-3, float(errors["mean"].min()) / 2), float(errors["mean"].max()) * 1.5, 60)
    for size in MARKERS:
        labels = [label for cell, of in found.items() if cell.endswith(size) for label in of]
        factors = [strengths.loc[k, "mean"] / errors.loc[k, "mean"] ** EXPONENT for k in labels
                   if errors.loc[k, "mean"] > 0]  # fmt: skip
        if factors:
            axes.plot(x, np.mean(factors) * x**EXPONENT, color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)), zorder=1)


def _logarithmic(axes: Axes, errors: pd.DataFrame, strengths: pd.DataFrame) -> None:
    """Both axes as far as means and intervals go, down to a third of the least mean."""
    axes.set(xscale="log", yscale="log")
    for axis, known, set_ends in ((axes.xaxis, errors, axes.set_xlim), (axes.yaxis, strengths, axes.set_ylim)):
        least, lowest = float(known["mean"].min()), float(known[["mean", "low"]].min().min())
        highest = float(known[["mean", "high"]].max().max())
        set_ends(max(lowest, least / 3) / 1.2, highest * 1.25)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


# --- gains -----------------------------------------------------------------------------------------------------------


def _gains(part: Any, material: Material, rows: pd.DataFrame) -> None:
    """Four panels with one scale: clean classes above noisy ones, common ones beside rare ones."""
    drawn = part.subplots(2, 2)
    ends = gains_by_metric.limits([line for line in rows.to_dict("records") if line["n"]])
    labels = [("", method) for method in dict.fromkeys(rows["method"])]
    experiment, setting = rows[["experiment", "setting"]].iloc[0]
    found = cells_of(material, experiment, setting)
    for across, cells in zip(drawn, SQUARE, strict=True):
        for axes, cell in zip(across, cells, strict=True):
            mine = rows[rows["metric"].str.startswith(f"accuracy_{cell}_")]
            gains_by_metric.panel(axes, material, mine, labels, cell == cells[0], ends, INK)
            for line in mine[mine["n"] > 0].to_dict("records"):
                text = f"{100 * line['mean']:+.2f}".replace("-", "−")
                place = (1.05, labels.index(("", line["method"])))
                style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 6}
                axes.annotate(text, place, color=MUTED, **style)
            names = ", ".join(class_name(material, experiment, label) for label in found.get(cell, ()))
            title = textwrap.indent(f"{WORDS[cell]}:\n{names}" if names else WORDS[cell], "    ")
            axes.set_title(title, fontsize=6.5, pad=3, loc="left", linespacing=1.1)
            if names:
                marker: dict[str, Any] = {"color": COLOURS[cell], "markersize": 5, "clip_on": False}
                high = axes.transAxes + ScaledTranslation(4 / 72, 9 / 72, axes.figure.dpi_scale_trans)
                axes.plot(0, 1, MARKERS[cell.partition("_")[2]], transform=high, **marker)
            axes.tick_params(labelbottom=cells is SQUARE[1])
    part.supxlabel("points of accuracy, each class counting alike", fontsize=8)


# --- words -----------------------------------------------------------------------------------------------------------


def _shows(rows: pd.DataFrame) -> str:
    known = rows[rows["n"] > 0]
    if known.empty:
        return "Nothing of ours was run"
    return (
        f"M{means_text(known)[1:]}. Left: a point a class, logarithmic where no error is 0; dashed: r ∝ e^0.6, through "
        "rare and through common classes. Right: differences of test accuracy after the last epoch, seed by seed"
    )


def _notes(material: Material, shown: pd.DataFrame, absent: Sequence[pd.DataFrame]) -> list[str]:
    titles = [place_title(material, *of[["experiment", "setting"]].iloc[0]) for of in absent]
    gains = shown[~shown["metric"].isin(OF_CLASSES)]
    found = gains_by_metric.notes(material, gains) if (shown["n"] > 0).any() else []
    return [*found, *([f"Not run: {'; '.join(titles)}"] if titles else [])]


def _legend(material: Material, blocks: Sequence[pd.DataFrame]) -> list[tuple[Any, str]]:
    found = {cell for of in blocks for cell in cells_of(material, *of[["experiment", "setting"]].iloc[0])}
    return [
        (Line2D([], [], color=COLOURS[cell], marker=MARKERS[cell.partition("_")[2]], linestyle="none"), WORDS[cell])
        for cell in CELLS
        if cell in found
    ]
