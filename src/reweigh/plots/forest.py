"""Paired differences: what one ingredient is worth, against the same method without it, on the same seeds."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby, starmap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import Row, cell_names, frame, paired_row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import of_scale
from reweigh.plots.notes import count_text, missing_notes
from reweigh.plots.style import INK, MUTED, SMALL, data_title, finish, is_last_row, sheet

LINE, HEAD = 0.165, 0.28  # inches: of a line, of a group's title
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C510A", "#5E3C99")


class Pair(NamedTuple):
    """`treated` has the ingredient, `control` lacks it; both are methods of `experiment`. `label` stands beside it.

    `metric` is that of the figure where none is named, `settings` all.
    """

    ingredient: str
    label: str
    experiment: str
    treated: str
    control: str
    settings: Sequence[str] = ()
    metric: str = ""


class Line(Row, total=False):
    """A line, and what the picture has beside it."""

    label: str


def rows(material: Material, pairs: Sequence[Sequence[Any]], metric: str = "test_accuracy") -> pd.DataFrame:
    """For each pair and setting the mean of treated minus control, seed by seed: one line, `against` the control.

    `pairs` are (ingredient, label, experiment, treated, control[, settings, else all[, metric]]).
    """
    lines = [line for pair in starmap(Pair, pairs) for line in _of_pair(material, pair, pair.metric or metric)]
    return frame(lines)


def _of_pair(material: Material, pair: Pair, metric: str) -> list[Line]:
    lines: list[Line] = []
    for setting in pair.settings or material.settings(pair.experiment):
        ours, others = (
            material.with_metric(material.of(pair.experiment, setting, method), metric)
            for method in (pair.treated, pair.control)
        )
        difference = paired_row(ours, others, metric)
        missing = [method for method, runs in ((pair.treated, ours), (pair.control, others)) if runs.empty]
        reasons = dict.fromkeys(material.why_not(pair.experiment, setting, method) for method in missing)
        lines.append(
            {
                "panel": pair.ingredient,
                **cell_names(material, pair.experiment, setting, pair.treated),
                "against": pair.control,
                "label": _label(material, pair, setting),
                **difference,
                "note": ", ".join(reasons) if missing else "" if difference["runs"] else "no seed in common",
            }
        )
    return lines


def _label(material: Material, pair: Pair, setting: str) -> str:
    data = data_title(material.experiment(pair.experiment).dataset)
    return f"{data}, {material.label(pair.experiment, setting)}: {pair.label}"


@styled
def draw(material: Material, rows: pd.DataFrame, unit: str = "points of accuracy") -> Figure:
    """A forest plot: the means with their intervals, those of one ingredient together. `unit`: of 100 differences."""
    lines = of_scale(material, rows, "panel").to_dict("records")
    groups = [(name, list(of)) for name, of in groupby(lines, key=lambda row: row["panel"])]
    both = _sides(material, rows)
    notes = [*missing_notes(material, both, gaps=False), *_gaps(rows)]
    heights = [max(1, sum(row["n"] > 0 for row in of)) + 0.3 for _, of in groups]
    picture = sheet()
    panels = picture.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for place, (axes, (name, of)) in enumerate(zip(panels, groups, strict=True)):
        _panel(axes, name, of, COLOURS[place % len(COLOURS)])
    panels[-1].set_xlabel(f"difference in {unit}")
    if rows["n"].eq(0).all():
        panels[-1].set_xticks([])
    finish(picture, material, _shows(rows), notes, panels=0.45 + HEAD * len(groups) + LINE * sum(heights))
    return Figure(picture, rows)


def _sides(material: Material, rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each side of every pair; runs that diverged are said of the side that has them."""
    both = pd.concat([rows, rows[rows["against"] != ""].assign(method=rows["against"])], ignore_index=True)
    for place in both.index[both["status"].str.endswith("diverged")]:
        runs = material.of(*both.loc[place, ["experiment", "setting", "method"]])
        lost = int((runs["status"] == "diverged").sum())
        both.loc[place, "status"] = f"{lost} diverged" if lost else "run"
    return both


def _panel(axes: Axes, name: str, group: list[dict[Hashable, Any]], colour: str) -> None:
    lines = [row for row in group if row["n"]]
    axes.set_title(name, loc="left", fontsize=8, weight="bold", pad=3)
    for place, row in enumerate(lines):
        _line(axes, row, place, colour)
    if not lines:
        _nothing(axes, group)
    axes.set_yticks(range(len(lines)), [row["label"] for row in lines], color=INK)
    axes.set_ylim(max(1, len(lines)) - 0.35, -0.65)
    _ruled(axes)
    axes.tick_params(axis="x", labelbottom=is_last_row(axes))


def together(axes: Axes, rows: pd.DataFrame, unit: str = "points") -> None:
    """Draw the lines of `rows` in one panel, each group under its name; groups without a number are left out."""
    lines = rows.to_dict("records")
    groups = [(name, [row for row in of if row["n"]]) for name, of in groupby(lines, key=lambda row: row["panel"])]
    ticks, labels, place = [], [], 0.0
    for rank, (name, of) in enumerate(group for group in groups if group[1]):
        heading: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "xytext": (4, 0),
        }
        axes.annotate(str(name), (0, place), weight="bold", va="center", fontsize=7, **heading)
        for row in of:
            place += 1
            _line(axes, row, place, COLOURS[rank % len(COLOURS)])
            ticks.append(place)
            labels.append(row["label"])
        place += 1.1
    if not ticks:
        _nothing(axes, lines)
        axes.set_xticks([])
    axes.set_yticks(ticks, labels, color=INK)
    axes.set_ylim(max(1.0, place - 0.4), -0.6)
    axes.set_xlabel(f"difference in {unit}")
    _ruled(axes)


def _line(axes: Axes, row: Mapping[Hashable, Any], place: float, colour: str) -> None:
    """One difference with its interval, and both as words beside it."""
    single = pd.isna(row["low"])  # one seed: no interval
    dot: dict[str, Any] = {"color": colour, "markerfacecolor": "white" if single else colour, "zorder": 3}
    axes.plot(100 * row["mean"], place, "o", **dot)
    if not single:
        axes.plot([100 * row["low"], 100 * row["high"]], [place] * 2, color=colour, linewidth=2, zorder=2)
    text = f"{_points(row['mean'])}{_interval(row)}, n = {row['n']:.0f}"
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
    axes.annotate(text, (1.01, place), color=MUTED, **beside)


def _nothing(axes: Axes, group: list[dict[Hashable, Any]]) -> None:
    why = "not run" if all(row["status"] == "not run" for row in group) else "no pair without a run that diverged"
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=MUTED, style="italic")


def _ruled(axes: Axes) -> None:
    """The line of no difference, and a grid across."""
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _points(value: float) -> str:
    text = f"{100 * value:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def _interval(row: Mapping[Hashable, Any]) -> str:
    return "" if pd.isna(row["low"]) else f" [{_points(row['low'])}, {_points(row['high'])}]"


def _shows(rows: pd.DataFrame) -> str:
    if not (rows["n"] > 0).any():
        return "Nothing of ours was run"
    return (
        f"Differences seed by seed, each to its own control; mean over {count_text(rows)} after the last epoch, "
        "bars: 95 % interval (Student t), hollow: one seed, no interval"
    )


def _gaps(rows: pd.DataFrame) -> list[str]:
    """How many comparisons of each ingredient are missing, and why; the csv has the reason of each."""
    absent, total = rows[rows["status"] == "not run"], rows["panel"].value_counts()
    if absent.empty:
        return []
    counts = [f"{name} ({len(of)} of {total[name]})" for name, of in absent.groupby("panel", sort=False)]
    reasons = dict.fromkeys(reason for note in absent["note"] for reason in note.split(", "))
    return [f"Not run ({', '.join(reasons)}): {'; '.join(counts)}"]
