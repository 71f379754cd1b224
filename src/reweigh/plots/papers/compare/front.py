"""Gain over cost at each setting, with plain training of 1, 2, ... times the epochs, and the Pareto front of all."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reweigh.analysis.across import Place
from reweigh.analysis.rows import frame
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.compare import grounds
from reweigh.plots.style import INK, MUTED, empty, entry, finish, is_last_row, letter, look_in, marker_style, sheet

COLUMNS, ROW = 3, 1.75  # panels beside each other; inches of a row of them
GREY = "#9a9a9a"
TICKS = (0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24)  # times plain training
FLOOR, LEAST = (
    1.5,
    0.02,
)  # panels end so many best gains below 0, or two points; what lies lower is at the edge


class Point(NamedTuple):
    """A method at one setting: its cost and gain, and the ends of the gain's interval (NaN where there is none).

    lost: whether a run of it is, so that the gain decides nothing.
    """

    method: str
    cost: float
    gain: float
    low: float
    high: float
    lost: bool = False


def rows(material: Material) -> pd.DataFrame:
    """For each setting and method its gain over plain training, and its cost."""
    return frame([*grounds.gain_rows(material), *grounds.cost_rows(material)])


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: none gains as much or more for less, or more for as much; by cost.

    Those with a run that is lost have no place on it, and beat nothing.

    >>> of = [Point("a", 1, 0, 0, 0), Point("b", 2, -1, 0, 0), Point("c", 3, 2, 0, 0), Point("d", 4, 2, 0, 0)]
    >>> [point.method for point in front([*of, Point("e", 2, 3, 0, 0, lost=True)])]
    ['a', 'c']
    """
    found: list[Point] = []
    for point in sorted((one for one in points if not one.lost), key=lambda one: (one.cost, -one.gain)):
        if not found or point.gain > found[-1].gain:
            found.append(point)
    return found


def points_of(material: Material, rows: pd.DataFrame, place: Place) -> list[Point]:
    """The methods of a setting that have a gain and a cost; plain training itself has the gain 0 and the cost 1."""
    costs = grounds.costs_in(rows)
    gains = grounds.gains_in(rows)
    here = gains[(gains["experiment"] == place.experiment) & (gains["setting"] == place.setting)]
    found = [
        Point(method, costs[place, method], line["mean"], line["low"], line["high"], bool(grounds.lost(line)))
        for line in here.to_dict("records")
        if pd.notna(line["mean"]) and (place, method := line["method"]) in costs
    ]
    plain = grounds.baseline(material)
    return [Point(plain, 1.0, 0.0, math.nan, math.nan), *found] if found else []


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A panel for each setting that has runs; all, where none has any."""
    every = grounds.places_of(material)
    points = {place: points_of(material, rows, place) for place in every}
    places = [place for place in every if points[place]] or every
    columns = min(COLUMNS, len(places)) if len(places) != 4 else 2
    height = -(-len(places) // columns)
    picture = sheet()
    panels = list(picture.subplots(height, columns, squeeze=False).flat)
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    ends = [point.cost for of in points.values() for point in of]
    for number, (axes, place) in enumerate(zip(panels, places, strict=False)):
        letter(axes, LETTERS[number], grounds.head(material, place, 99))
        _panel(axes, material, points[place], ends)
        below = number + columns < len(places)
        axes.set_xlabel("" if below and not is_last_row(axes) else "time, × plain training")
        if number % columns == 0:
            axes.set_ylabel("gain, points")
    notes = [*grounds.missing(material, rows), *grounds.doubts(material, grounds.gains_in(rows))]
    finish(picture, material, _shows(rows), notes, _legend(material, points),
           panels=0.2 + (ROW + 0.25 * (columns == 2)) * height)  # fmt: skip
    return Figure(picture, rows)


def _panel(axes: Axes, material: Material, points: Sequence[Point], ends: Sequence[float]) -> None:
    if not points:
        empty(axes, "not run")
        axes.set(xticks=[], yticks=[])
        return
    plain = _plain(material)
    top = max(point.gain for point in points)
    floor = -max(FLOOR * top, LEAST)
    step = front(points)
    axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
    costs, gains = [point.cost for point in step], [100 * point.gain for point in step]
    axes.step([*costs, 2 * max(ends)], [*gains, gains[-1]], where="post", color=INK, linewidth=0.8,
              linestyle=(0, (3, 1.5)), zorder=2)  # fmt: skip
    sound = (one for one in points if one.method in plain and not one.lost)
    longer = sorted(sound, key=lambda one: plain[one.method])
    axes.plot([one.cost for one in longer], [100 * one.gain for one in longer], color=GREY, linewidth=1.6, zorder=2)
    for point in points:
        _point(axes, material, point, floor, plain)
    bars = [end for point in points for end in (point.low, point.high) if not math.isnan(end) and point.gain >= floor]
    lowest = min([*(max(one.gain, floor) for one in points), *(max(bar, floor) for bar in bars)])
    highest = max([top, *(min(bar, top + 0.6 * (top - floor)) for bar in bars)])
    room = 0.07 * max(highest - lowest, 1e-3)
    axes.set_ylim(100 * (lowest - room), 100 * (highest + room))
    axes.set_xscale("log")
    axes.set_xlim(min(*ends, 1) / 1.15, max(ends) * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x")


def _point(axes: Axes, material: Material, point: Point, floor: float, plain: Mapping[str, int]) -> None:
    """A marker with the interval of its gain, crossed out where a run is lost.

    What lies below the panel stands at its edge, with a number.
    """
    style = _style(material, point.method, plain)
    if point.lost:
        axes.plot(
            point.cost, 100 * max(point.gain, floor), "x", color=INK, markersize=6.5, markeredgewidth=0.8, zorder=5
        )
    if point.gain < floor:
        axes.plot(point.cost, 100 * floor, linestyle="", zorder=4, **style)
        words: dict[str, Any] = {"xytext": (0, 5), "textcoords": "offset points", "fontsize": 5.5, "rotation": 90}
        place: Any = (point.cost, 100 * floor)
        axes.annotate(f"{grounds.points(point.gain)} ↓", place, color=MUTED, ha="center", va="bottom", **words)
        return
    if not math.isnan(point.low):
        axes.plot([point.cost] * 2, [100 * point.low, 100 * point.high], color=style["markeredgecolor"],
                  linewidth=0.9, alpha=0.6, zorder=3)  # fmt: skip
    axes.plot(point.cost, 100 * point.gain, linestyle="", zorder=4, **style)


def _style(material: Material, method: str, plain: Mapping[str, int]) -> dict[str, Any]:
    if method in plain:
        return {"marker": "o", "markerfacecolor": GREY, "markeredgecolor": GREY, "markersize": 3.4}
    return {**marker_style(look_in(material, method)), "markersize": 4.6}


def _plain(material: Material) -> dict[str, int]:
    return {method: times for times, method in grounds.plain_runs(material).items()}


def _legend(material: Material, points: Mapping[Place, Sequence[Point]]) -> list[tuple[Any, str]]:
    shown = dict.fromkeys(point.method for of in points.values() for point in of)
    plain = _plain(material)
    title = material.title(grounds.baseline(material))
    times = [str(plain[method]) for method in shown if method in plain]
    entries = [entry(material, method, linestyle="") for method in shown if method not in plain]
    if not shown:
        return []
    grey = Line2D([], [], color=GREY, marker="o", markersize=3.4, linewidth=1.6)
    dashed = Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (3, 1.5)))
    return [(grey, f"{title}, {', '.join(sorted(times))} × epochs"), (dashed, "Pareto front"), *entries]


def _shows(rows: pd.DataFrame) -> str:
    gains = grounds.gains_in(rows)
    if not (gains["n"] > 0).any():
        return "Nothing of ours was run"
    return (
        f"Gain in the mean accuracy of the groups over plain training of equal epochs, mean over pairs of "
        f"{count_text(gains)} after the last epoch, bars: 95 % interval (Student t), cut where they leave the panel. "
        "Time: seconds of training of all stages, evaluation left out, over those of the plain run of the same seed. "
        "What lies above the grey line gains more than plain training does in the same time; ↓: below the panel. "
        "Crossed out: a run diverged, predicts one class or did not move, so that the gain decides nothing and has no "
        "place on the front"
    )
