"""ABSGD's toy (Figure 1): one step from the same start on the same batch, with equal and with attentional weights.

Distributions, start, batch, learning rate and λ are those of the authors' script. Its coordinates were never published
(`toy_example.csv` is missing there), so they are drawn anew, from the stated distributions by a stated seed. One such
draw is a picture; what the step does is measured over many (`toy_draws`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reweigh.analysis.rows import DECISION_LINE, EXAMPLE, WEIGHT, Row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.papers.absgd import toy_draws
from reweigh.plots.papers.absgd.toy_step import examples, moved, weights_of
from reweigh.plots.style import INK, MUTED, finish, letter, sheet

DASHED = (0, (4, 2))
BLUE, ORANGE = "#0072B2", "#D55E00"
AREA = 26.0  # points², of an example with the weight 1/B
NAMES = {"sgd_ce": "SGD", "absgd_ce": "ABSGD"}
EDGES = np.array([0.1, 0.8])  # of what is shown, in both coordinates
MARKS = {1: (BLUE, "o"), -1: (ORANGE, "s")}


def rows(material: Material) -> pd.DataFrame:
    """The lines that follow from the artifact's own options: one draw (`step_rows`), and many (`toy_draws.rows`)."""
    options = material.artifact.options
    return pd.DataFrame([*step_rows(options), *toy_draws.rows(options)])


def step_rows(options: Mapping[str, Any]) -> list[Row]:
    """One step of SGD (panel a) and of ABSGD (b): all that is shown, computed from the options alone.

    Metric `example`: a line for each point outside the batch, `weight`: for each in it, both with the place of the
    example, its side (`class`, +1 or −1) and its coordinates; `decision_line`: two ends before and two after the step.
    """
    inputs, labels = examples(options["positives"], options["negatives"], options["divisor"], options["seed"])
    start, batch = np.array(options["start"], float), np.array(options["batch"])
    after, weights = moved(options, inputs, labels), weights_of(options, inputs, labels)
    lines: list[Row] = []
    for panel, method in zip("ab", weights, strict=True):
        base: Row = {"panel": panel, "experiment": "", "method": method, "title": NAMES[method], "status": "computed"}
        of_panel = [*_point_rows(inputs, labels, batch, weights[method]), *_line_rows(start, after[method])]
        lines += [{**base, **line} for line in of_panel]
    return lines


def _point_rows(inputs: np.ndarray, labels: np.ndarray, batch: np.ndarray, weights: np.ndarray) -> list[Row]:
    lines: list[Row] = []
    for label in MARKS:
        outside = np.setdiff1d(np.flatnonzero(labels == label), batch)
        mine = labels[batch] == label
        inside = zip(batch[mine].tolist(), weights[mine].tolist(), strict=True)
        lines += [{"metric": WEIGHT, **_place(inputs, place), "class": label, "weight": w} for place, w in inside]
        lines += [{"metric": EXAMPLE, **_place(inputs, place), "class": label} for place in outside.tolist()]
    return lines


def _place(inputs: np.ndarray, place: int) -> Row:
    return {"example": place, "x": inputs[place, 0], "y": inputs[place, 1]}


def _line_rows(start: np.ndarray, moved: np.ndarray) -> list[Row]:
    """The line w·x = 0 before and after the step, from edge to edge of what is shown."""
    lines: list[Row] = []
    for when, w in (("before", start), ("after", moved)):
        ends = zip(EDGES.tolist(), (-(w[2] + w[0] * EDGES) / w[1]).tolist(), strict=True)
        lines += [{"metric": DECISION_LINE, "note": when, "x": x, "y": y} for x, y in ends]
    return lines


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """One draw: SGD (a) and ABSGD (b), areas as weights, the line before and after the step. Below, many draws (c)."""
    options = material.artifact.options
    picture = sheet()
    panels = picture.subplot_mosaic("ab;cc", height_ratios=[3.1, 1.5])
    for panel, lines in rows[rows["panel"] != "c"].groupby("panel"):
        axes, batch = panels[str(panel)], lines[lines["metric"] == WEIGHT]
        _points(axes, batch, lines[lines["metric"] == EXAMPLE])
        _lines(axes, lines[lines["metric"] == DECISION_LINE])
        rare = batch[batch["class"] == 1]
        share = f"{100 * rare['weight'].sum():.0f} % of the weight on the {len(rare)} positives"
        letter(axes, str(panel), f"{lines['title'].iloc[0]}: {share}")
        axes.set_xlabel(f"first coordinate / {options['divisor']:g}")
    panels["a"].set_ylabel(f"second coordinate / {options['divisor']:g}")
    draws = rows[rows["panel"] == "c"]
    toy_draws.draw_panel(panels["c"], draws, options["positives"]["count"])
    notes = [_drawn_anew(options), toy_draws.note(draws)]
    finish(picture, material, _shows(options), notes, _legend(options), panels=4.9)
    return Figure(picture, rows)


def _points(axes: Axes, batch: pd.DataFrame, others: pd.DataFrame) -> None:
    for label, (colour, marker) in MARKS.items():
        outside, mine = others[others["class"] == label], batch[batch["class"] == label]
        axes.scatter(outside["x"], outside["y"], s=7, color=colour, alpha=0.22, linewidth=0, marker=marker)
        areas = AREA * mine["weight"] * len(batch)
        places: dict[str, Any] = {"x": mine["x"], "y": mine["y"], "marker": marker}
        axes.scatter(s=areas, facecolor=colour, linewidth=0, alpha=0.7, zorder=3, **places)
        axes.scatter(s=AREA, facecolor="none", edgecolor=colour, linewidth=0.7, zorder=4, **places)  # of 1/B


def _lines(axes: Axes, rows: pd.DataFrame) -> None:
    for when, style in (("before", {"color": MUTED, "linestyle": DASHED}), ("after", {"color": INK})):
        ends = rows[rows["note"] == when]
        axes.plot(ends["x"], ends["y"], linewidth=1.2, zorder=2, **style)
    axes.set_xlim(*EDGES)
    axes.set_ylim(*EDGES)
    axes.set_aspect("equal")


def _shows(options: Mapping[str, Any]) -> str:
    count = len(options["batch"])
    return (
        f"a, b: one step of rate {options['learning_rate']:g} on a batch of {count}, logistic loss; areas: weights, "
        f"1/{count} each (outlines; SGD), softmax(loss/λ) with λ = {options['lambda_']:g} (ABSGD); "
        "faint: not in the batch"
    )


def _drawn_anew(options: Mapping[str, Any]) -> str:
    sides = (options["positives"], options["negatives"])
    shapes = ", ".join(f"N({side['mean']:g}, {side['sd']:g}²)" for side in sides)
    return (
        f"The authors' coordinates were never published; these are drawn anew from the stated distributions {shapes}, "
        f"seed {options['seed']} in a and b. Start, batch, rate and λ are theirs"
    )


def _legend(options: Mapping[str, Any]) -> list[tuple[Any, str]]:
    dot: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    return [
        (Line2D([], [], color=BLUE, marker="o", **dot), f"{options['positives']['count']} positives (rare)"),
        (Line2D([], [], color=ORANGE, marker="s", **dot), f"{options['negatives']['count']} negatives"),
        (Line2D([], [], color=MUTED, linestyle=DASHED, linewidth=1.2), "decision line before the step"),
        (Line2D([], [], color=INK, linewidth=1.2), "after the step"),
    ]
