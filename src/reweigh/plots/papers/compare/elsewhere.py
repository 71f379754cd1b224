"""What each paper's method gains over plain training of as much compute, on its own ground and on that of the others.

Plain training is given the smallest number of times the epochs, of those that were run, that takes as long as the
method's own runs at the setting, to a tenth (`grounds.times_as_long`).
"""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from reweigh import stats
from reweigh.analysis import across
from reweigh.analysis.across import Place
from reweigh.analysis.rows import Row, frame
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.compare import grounds
from reweigh.plots.papers.compare.grounds import BEYOND, HEADLINE
from reweigh.plots.style import BAND, INK, MUTED, SMALL, empty, finish, letter, sheet

COLUMNS, LINE = 3, 0.165  # panels beside each other; inches of a setting
VERDICT = 17  # points: from the panel to a verdict, behind how many times the epochs there were
QUANTILE, WIDE, LEAST = 0.8, 2.0, 0.02  # of the sizes of gains; times that; axes go two points far at least
OWN, OTHER = "#0072B2", "#D55E00"
WORDS = {1: "holds", -1: "fails", 0: ""}


def rows(material: Material) -> pd.DataFrame:
    """A line for each method and setting: its gain over plain training of as much compute, p by Holm over all of them.

    The lines of costs, which say how long that is, come last.
    """
    costs = grounds.cost_rows(material)
    known = grounds.costs_in(frame(costs))
    methods = list(material.artifact.options["own"])
    lines: list[Row] = []
    for method in methods:
        for place in grounds.places_of(material):
            cost, plain = known.get((place, method)), _run(material, place)
            times = 1 if cost is None else grounds.times_as_long(plain, cost)
            beyond = cost is not None and times < cost - grounds.SLACK
            line = _gain(material, place, method, plain[times])
            lines.append({**line, "note": line["note"] or (BEYOND if beyond else "")})
    for line, p in zip(lines, stats.holm([line.get("p") for line in lines]), strict=True):
        line["p_holm_all"] = p
    shown = {*methods, *grounds.plain_runs(material).values()}
    return frame([*lines, *(line for line in costs if line["method"] in shown)])


def _run(material: Material, place: Place) -> dict[int, str]:
    """Plain training by how many times the epochs, of what was run at a setting; once where nothing was."""
    every = grounds.plain_runs(material)
    return {times: method for times, method in every.items() if times == 1 or not material.of(*place, method).empty}


def _gain(material: Material, place: Place, method: str, against: str) -> Row:
    """One line of `across.per_setting`, or why there is none."""
    if not material.of(*place, method).empty and not material.of(*place, against).empty:
        return across.gain_line(across.field_of(material, HEADLINE, [against, method], [place]), place, method, against)
    return grounds.no_gain(material, place, method, against, HEADLINE)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A panel a method, a line a setting; filled: a setting of the method's own ground, hollow: one of the others'."""
    lines = grounds.gains_in(rows)
    every = grounds.places_of(material)
    run = lines[lines["n"] > 0]
    seen = {Place(*one) for one in run[["experiment", "setting"]].itertuples(index=False)}
    places = [place for place in every if place in seen] or every
    methods = list(material.artifact.options["own"])
    height = -(-len(methods) // COLUMNS)
    picture = sheet()
    panels = picture.subplots(height, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    panels[0].set_xlim(*_ends(run))  # of all
    for number, (axes, method) in enumerate(zip(panels, methods, strict=False)):
        letter(axes, LETTERS[number], material.title(method))
        _panel(axes, material, lines[lines["method"] == method], places, _own(material, method))
        if number + COLUMNS >= len(methods):
            axes.set_xlabel("gain, points")
    axes = panels[0]
    axes.set_yticks(range(len(places)), [grounds.head(material, place, 99) for place in places], color=INK)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5) if len(run) else NullLocator())
    legend = [
        (Line2D([], [], color=OWN, marker="o", markersize=4), "the paper's own ground"),
        (Line2D([], [], color=OTHER, marker="o", markersize=4, markerfacecolor="white"), "others' ground"),
    ]
    notes = [*grounds.missing(material, rows), *grounds.doubts(material, lines)]
    panels_high = 0.35 + height * (0.42 + LINE * len(places))
    finish(picture, material, _shows(run), notes, legend, panels=panels_high)
    return Figure(picture, rows)


def _own(material: Material, method: str) -> set[Place]:
    chosen = material.artifact.options["own"][method]
    return {Place(experiment, setting) for experiment, settings in chosen.items() for setting in settings}


def _ends(run: pd.DataFrame) -> tuple[float, float]:
    """Where the axes end (points): at what is drawn, or at twice what most gains come to, if a few lie far off."""
    most = WIDE * float(run["mean"].abs().quantile(QUANTILE)) if len(run) else LEAST
    bound = max(LEAST, most)
    least, largest = run[["mean", "low"]].min().min(), run[["mean", "high"]].max().max()
    left = -bound if pd.isna(least) else max(-bound, min(float(least), 0.0))
    right = bound if pd.isna(largest) else min(bound, max(float(largest), 0.0))
    room = 0.05 * max(right - left, LEAST)
    return 100 * (left - room), 100 * (right + room)


def _panel(axes: Axes, material: Material, lines: pd.DataFrame, places: list[Place], own: set[Place]) -> None:
    by_place = {Place(line["experiment"], line["setting"]): line for line in lines.to_dict("records")}
    for number in range(1, len(places), 2):
        axes.axhspan(number - 0.5, number + 0.5, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    if not (lines["n"] > 0).any():
        empty(axes, "not run")
        return
    for number, place in enumerate(places):
        _line(axes, material, by_place[place], number, place in own)


def _line(axes: Axes, material: Material, line: Mapping[Hashable, Any], number: int, own: bool) -> None:
    colour = OWN if own else OTHER
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
    if pd.isna(line["mean"]):
        why = "diverged" if grounds.has_pairs(line) else "not run"
        axes.annotate(why, (0.02, number), fontsize=5.5, color=MUTED, style="italic", **beside)
        return
    left, right = axes.get_xlim()
    if not left <= 100 * line["mean"] <= right:
        low = 100 * line["mean"] < left
        text = grounds.points(line["mean"])
        axes.annotate(f"← {text}" if low else f"{text} →", (0.02 if low else 0.98, number), fontsize=SMALL,
                      color=colour, ha="left" if low else "right", **beside)  # fmt: skip
    elif pd.notna(line["low"]):
        axes.plot([100 * line["low"], 100 * line["high"]], [number] * 2, color=colour, linewidth=1.6, zorder=2)
    if left <= 100 * line["mean"] <= right:
        axes.plot(100 * line["mean"], number, "o", color=colour, markersize=4, zorder=3,
                  markerfacecolor=colour if own else "white")  # fmt: skip
    plain = {method: times for times, method in grounds.plain_runs(material).items()}
    more = ">" if line["note"] == BEYOND else ""
    edge: dict[str, Any] = {"xy": (1, number), "textcoords": "offset points", **beside}
    axes.annotate(f"{more}{plain[line['against']]}×", xytext=(2, 0), fontsize=5.5, color=MUTED, **edge)
    axes.annotate(verdict(line), xytext=(VERDICT, 0), fontsize=SMALL - 0.5, color=INK, weight="bold", **edge)


def verdict(line: Mapping[Hashable, Any]) -> str:
    """What a line decides, in a word; empty where that is open.

    A gain over plain training that takes less time than the method is none of equal compute, however sure: it may be
    what the time alone is worth. A loss to it is one all the same.
    """
    told = grounds.decides(line, "p_holm_all")
    return "beyond" if told > 0 and line["note"] == BEYOND else WORDS[told]


def _shows(run: pd.DataFrame) -> str:
    if run.empty:
        return "Nothing of ours was run"
    return (
        f"Gain in the mean accuracy of the groups over plain training of as much compute, mean over pairs of "
        f"{count_text(run)} after the last epoch, bars: 95 % interval (Student t). Beside them how many times the "
        "epochs plain training had: the fewest that take as long as the method, to a tenth, of 1 to 4 (>: the method "
        "takes longer than all). Holds, fails: the gain is above, below 0 by paired t tests, Holm over all lines; "
        f"beyond: above 0, but the method is {BEYOND}, so that it does not hold. A run that diverged, predicts one "
        "class or did not move decides nothing, nor does its line. Where more epochs harm plain training, as with "
        "wrong labels, what holds here may be a loss at equal epochs (Table 1). Arrows: beyond the panel"
    )
