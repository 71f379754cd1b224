"""ABSGD's toy (Figure 1): one step from the same start on the same batch, with equal and with attentional weights.

Distributions, start, batch, learning rate and λ are those of the authors' script. Its coordinates were never published
(`toy_example.csv` is missing there), so they are drawn anew, from the stated distributions by a stated seed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reweigh.analysis.tables import Material
from reweigh.plots.style import INK, MUTED, Drawing, finish, letter, sheet, styled
from reweigh.streams import rng

DASHED = (0, (4, 2))
BLUE, ORANGE = "#0072B2", "#D55E00"
AREA = 26.0  # points², of an example with the weight 1/B
NAMES = {"sgd_ce": "SGD", "absgd_ce": "ABSGD"}
EDGES = np.array([0.1, 0.8])  # of what is shown, in both coordinates


def examples(
    positives: Mapping[str, float], negatives: Mapping[str, float], divisor: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The data, positives first: inputs float64 (n, 3), the third a one for the bias; labels +1 or −1 (n,).

    Both coordinates of `count` points a side are normal with `mean` and `sd`, and divided by `divisor`.
    """
    draw, sides = rng(seed, "toy"), (positives, negatives)
    points = np.concatenate([draw.normal(one["mean"], one["sd"], (int(one["count"]), 2)) for one in sides]) / divisor
    labels = np.repeat([1.0, -1.0], [int(one["count"]) for one in sides])
    return np.column_stack([points, np.ones(len(points))]), labels


def losses(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logistic losses ln(1 + exp(−y w·x)). (3,), (B, 3), (B,) -> (B,)."""
    return np.logaddexp(0.0, -labels * (inputs @ w))


def attention(values: np.ndarray, lambda_: float) -> np.ndarray:
    """ABSGD's weights in one batch with γ = 1: softmax of losses / λ. (B,) -> (B,), sum 1."""
    tilted = np.exp((values - values.max()) / lambda_)
    return tilted / tilted.sum()


def step(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, rate: float) -> np.ndarray:
    """w − rate Σ_i weight_i ∇ℓ_i(w), with ∇ℓ_i = −y_i x_i / (1 + exp(y_i w·x_i)). -> (3,)."""
    slopes = -labels / (1 + np.exp(labels * (inputs @ w)))
    return w - rate * (weights * slopes) @ inputs


@styled
def one_step(material: Material) -> Drawing:
    """Two panels, SGD (a) and ABSGD (b): the batch, areas as weights, and the decision line before and after the step.

    Everything is the artifact's options. csv: an `example` for each point outside the batch, a `weight` for each in it,
    the two ends of each `decision_line`.
    """
    said = material.artifact.options
    inputs, labels = examples(said["positives"], said["negatives"], said["divisor"], said["seed"])
    start, batch = np.array(said["start"], float), np.array(said["batch"])
    picked, signs = inputs[batch], labels[batch]
    attentive = attention(losses(start, picked, signs), said["lambda_"])
    weights = {"sgd_ce": np.full(len(batch), 1 / len(batch)), "absgd_ce": attentive}
    figure = sheet()
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    rows: list[dict[str, Any]] = []
    for panel, axes, method in zip("ab", panels, weights, strict=True):
        moved = step(start, picked, signs, weights[method], said["learning_rate"])
        base = {"panel": panel, "experiment": "", "method": method, "title": NAMES[method], "status": "computed"}
        found = [*_points(axes, inputs, labels, batch, weights[method]), *_lines(axes, start, moved)]
        rows += [{**base, **row} for row in found]
        share = weights[method][signs > 0].sum()
        letter(axes, panel, f"{NAMES[method]}: {100 * share:.0f} % of the weight on the {(signs > 0).sum()} positives")
        axes.set_xlabel(f"first coordinate / {said['divisor']:g}")
    panels[0].set_ylabel(f"second coordinate / {said['divisor']:g}")
    finish(figure, material, _shows(said), [_drawn_anew(said)], _legend(said), panels=3.1)
    return Drawing(figure, pd.DataFrame(rows))


def _shows(said: Mapping[str, Any]) -> str:
    count = len(said["batch"])
    return (
        f"One step of rate {said['learning_rate']:g} on a batch of {count}, logistic loss; areas: weights, "
        f"1/{count} each (outlines; SGD), softmax(loss/λ) with λ = {said['lambda_']:g} (ABSGD); faint: not in the batch"
    )


def _drawn_anew(said: Mapping[str, Any]) -> str:
    shapes = ", ".join(f"N({said[side]['mean']:g}, {said[side]['sd']:g}²)" for side in ("positives", "negatives"))
    return (
        f"The authors' coordinates were never published; these are drawn anew from the stated distributions {shapes}, "
        f"seed {said['seed']}. Start, batch, rate and λ are theirs"
    )


def _points(
    axes: Axes, inputs: np.ndarray, labels: np.ndarray, batch: np.ndarray, weights: np.ndarray
) -> list[dict[str, Any]]:
    rows = []
    for label, colour, marker in ((1, BLUE, "o"), (-1, ORANGE, "s")):
        others = np.setdiff1d(np.flatnonzero(labels == label), batch)
        axes.scatter(inputs[others, 0], inputs[others, 1], s=7, color=colour, alpha=0.22, linewidth=0, marker=marker)
        mine = labels[batch] == label
        areas = AREA * weights[mine] * len(batch)
        places: dict[str, Any] = dict(zip("xy", inputs[batch[mine], :2].T, strict=True)) | {"marker": marker}
        axes.scatter(s=areas, facecolor=colour, linewidth=0, alpha=0.7, zorder=3, **places)
        axes.scatter(s=AREA, facecolor="none", edgecolor=colour, linewidth=0.7, zorder=4, **places)  # of 1/B
        inside = zip(batch[mine].tolist(), weights[mine].tolist(), strict=True)
        rows += [{"metric": "weight", **_place(inputs, place), "class": label, "weight": w} for place, w in inside]
        rows += [{"metric": "example", **_place(inputs, place), "class": label} for place in others.tolist()]
    return rows


def _place(inputs: np.ndarray, place: int) -> dict[str, Any]:
    return {"example": place, "x": inputs[place, 0], "y": inputs[place, 1]}


def _lines(axes: Axes, start: np.ndarray, moved: np.ndarray) -> list[dict[str, Any]]:
    """The line w·x = 0 before and after the step, from edge to edge of what is shown."""
    rows = []
    for when, w, style in (("before", start, {"color": MUTED, "linestyle": DASHED}), ("after", moved, {"color": INK})):
        heights = -(w[2] + w[0] * EDGES) / w[1]
        axes.plot(EDGES, heights, linewidth=1.2, zorder=2, **style)
        ends = zip(EDGES.tolist(), heights.tolist(), strict=True)
        rows += [{"metric": "decision_line", "note": when, "x": x, "y": y} for x, y in ends]
    axes.set_xlim(*EDGES)
    axes.set_ylim(*EDGES)
    axes.set_aspect("equal")
    return rows


def _legend(said: Mapping[str, Any]) -> list[tuple[Any, str]]:
    dot: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    return [
        (Line2D([], [], color=BLUE, marker="o", **dot), f"{said['positives']['count']} positives (rare)"),
        (Line2D([], [], color=ORANGE, marker="s", **dot), f"{said['negatives']['count']} negatives"),
        (Line2D([], [], color=MUTED, linestyle=DASHED, linewidth=1.2), "decision line before the step"),
        (Line2D([], [], color=INK, linewidth=1.2), "after the step"),
    ]
