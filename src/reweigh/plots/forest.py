"""Paired differences: what one ingredient is worth, against the same method without it, on the same seeds."""

from collections.abc import Sequence
from itertools import groupby, starmap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material, cell_names, paired_row
from reweigh.plots.style import (
    INK,
    MUTED,
    SMALL,
    Drawing,
    count_text,
    data_title,
    finish,
    is_last_row,
    missing_notes,
    sheet,
    styled,
)

ROW, HEAD = 0.165, 0.28  # inches: of a line, of a group's title
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C510A", "#5E3C99")


class Pair(NamedTuple):
    """`treated` has the ingredient, `control` lacks it; both are methods of `experiment`. `label` stands beside it."""

    ingredient: str
    label: str
    experiment: str
    treated: str
    control: str
    settings: Sequence[str] = ()


@styled
def paired_differences(
    material: Material, pairs: Sequence[Sequence[Any]], metric: str = "test_accuracy", unit: str = "points of accuracy"
) -> Drawing:
    """A forest plot: for each pair and setting the mean of treated minus control, seed by seed, with its interval.

    `pairs` are (ingredient, label, experiment, treated, control[, settings, else all]); those of one ingredient stand
    together. csv: one line each, fractions, `against` being the control.
    """
    rows = [row for pair in starmap(Pair, pairs) for row in _rows(material, pair, metric)]
    groups = [(name, [row for row in lines if row["n"]]) for name, lines in groupby(rows, key=lambda row: row["panel"])]
    data = pd.DataFrame(rows).astype(dict.fromkeys(("mean", "sd", "low", "high"), float))
    both = pd.concat([data, data.assign(method=data["against"])])
    notes = [*missing_notes(material, both, gaps=False), *_gaps(data)]
    heights = [max(1, len(lines)) + 0.3 for _, lines in groups]
    figure = sheet()
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for place, (axes, (name, lines)) in enumerate(zip(panels, groups, strict=True)):
        _panel(axes, name, lines, COLOURS[place % len(COLOURS)])
    panels[-1].set_xlabel(f"difference in {unit}")
    if data["n"].eq(0).all():
        panels[-1].set_xticks([])
    finish(figure, material, _shows(data), notes, panels=0.45 + HEAD * len(groups) + ROW * sum(heights))
    return Drawing(figure, data)


def _rows(material: Material, pair: Pair, metric: str) -> list[dict[str, Any]]:
    rows = []
    for setting in pair.settings or material.settings(pair.experiment):
        ours, others = (material.of(pair.experiment, setting, method) for method in (pair.treated, pair.control))
        found = paired_row(ours, others, metric)
        missing = [method for method, runs in ((pair.treated, ours), (pair.control, others)) if runs.empty]
        reasons = dict.fromkeys(material.why_not(pair.experiment, setting, method) for method in missing)
        note = ", ".join(reasons) if missing else "" if found["n"] else "no seed in common"
        rows.append(
            {
                "panel": pair.ingredient,
                **cell_names(material, pair.experiment, setting, pair.treated),
                "against": pair.control,
                "label": _label(material, pair, setting),
                **found,
                "note": note,
            }
        )
    return rows


def _label(material: Material, pair: Pair, setting: str) -> str:
    data = data_title(material.experiment(pair.experiment).dataset)
    return f"{data}, {material.label(pair.experiment, setting)}: {pair.label}"


def _panel(axes: Axes, name: str, lines: list[dict[str, Any]], colour: str) -> None:
    axes.set_title(name, loc="left", fontsize=8, weight="bold", pad=3)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for place, row in enumerate(lines):
        single = row["low"] is None  # one seed: no interval
        dot: dict[str, Any] = {"color": colour, "markerfacecolor": "white" if single else colour, "zorder": 3}
        axes.plot(100 * row["mean"], place, "o", **dot)
        if not single:
            axes.plot([100 * row["low"], 100 * row["high"]], [place] * 2, color=colour, linewidth=2, zorder=2)
        text = f"{_points(row['mean'])}{_interval(row)}, n = {row['n']}"
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
        axes.annotate(text, (1.01, place), color=MUTED, **beside)
    if not lines:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center", color=MUTED, style="italic")
    axes.set_yticks(range(len(lines)), [row["label"] for row in lines], color=INK)
    axes.set_ylim(max(1, len(lines)) - 0.35, -0.65)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="x", labelbottom=is_last_row(axes))


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _interval(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f" [{_points(row['low'])}, {_points(row['high'])}]"


def _shows(data: pd.DataFrame) -> str:
    if not (data["n"] > 0).any():
        return "Nothing of ours was run"
    return (
        f"Differences seed by seed, each to its own control; mean over {count_text(data)} after the last epoch, "
        "bars: 95 % interval (Student t), hollow: one seed, no interval"
    )


def _gaps(data: pd.DataFrame) -> list[str]:
    """How many comparisons of each ingredient are missing, and why; the csv has the reason of each."""
    absent, total = data[data["n"] == 0], data["panel"].value_counts()
    if absent.empty:
        return []
    counts = [f"{name} ({len(rows)} of {total[name]})" for name, rows in absent.groupby("panel", sort=False)]
    reasons = dict.fromkeys(reason for note in absent["note"] for reason in note.split(", "))
    return [f"Not run ({', '.join(reasons)}): {'; '.join(counts)}"]
