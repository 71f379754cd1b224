"""TDR's Figure 1, a cartoon in the paper, computed: which line plain training and TDR draw between unequal classes.

Two classes of points in the plane, one of them rare, and a small target set with as many of each. Logistic regression
is trained by gradient descent on all points at once, with equal weights and with those of TDR (eqs. 6, 7 and 9): every
t_in steps the weight of a class moves by the inner product of its gradient and that of the target set after the step.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import DECISION_LINE, EXAMPLE, WEIGHT, Row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import INK, MUTED, entry_of, finish, letter, look_of, sheet
from reweigh.streams import rng

EDGES = np.array([-3.2, 5.2])  # of what is shown, of the first coordinate
HEIGHT = (-3.4, 5.0)  # and of the second
TARGET, ACCURACY = "target", "balanced_accuracy"
CLASSES = ("rare", "frequent")
COLOURS, MARKERS = ("#D55E00", "#8fb8d8"), ("^", "o")
BEST = "the best line for equal classes"
TITLES = {"none": "equal weights", "tdr": "TDR", "best": BEST}
LINES: dict[str, Any] = {"none": "-", "tdr": "-", "best": (0, (2, 2))}


class Points(NamedTuple):
    """Points (N, 2) and their classes (N,): 0 is the rare one."""

    inputs: np.ndarray
    classes: np.ndarray


def rows(material: Material) -> pd.DataFrame:
    """The lines of the artifact's own options (see `toy_rows`)."""
    return pd.DataFrame(toy_rows(material.artifact.options))


def toy_rows(options: Mapping[str, Any]) -> list[Row]:
    """All that is shown, computed from the options alone.

    Panel a: `example` and `target`, a line a point; `decision_line`, the two ends of each line; `balanced_accuracy` (in
    `y`): the share of either class on its side of the line, in all of the plane, averaged over both. Panel b: `weight`
    (in `y`), of each class as a share of both, by outer step (`x`).
    """
    train, target = (draw_points(options, part) for part in ("train", "target"))
    trained, weights = descend(train, target, options)
    lines: list[Row] = []
    for metric, points in ((EXAMPLE, train), (TARGET, target)):
        places = zip(points.inputs.tolist(), points.classes.tolist(), strict=True)
        lines += [
            {"panel": "a", "metric": metric, "class": label, "example": place, "x": x, "y": y}
            for place, ((x, y), label) in enumerate(places)
        ]
    for method, theta in {**trained, "best": best_line(options)}.items():
        of: Row = {"panel": "a", "method": method, "title": TITLES[method]}
        ends = zip(EDGES.tolist(), (-(theta[2] + theta[0] * EDGES) / theta[1]).tolist(), strict=True)
        lines += [{**of, "metric": DECISION_LINE, "x": x, "y": y} for x, y in ends]
        lines.append({**of, "metric": ACCURACY, "y": balanced_accuracy(theta, options)})
    for label in range(2):
        of = {"panel": "b", "method": "tdr", "title": TITLES["tdr"], "metric": WEIGHT, "class": label}
        lines += [{**of, "x": float(step), "y": value} for step, value in enumerate(weights[:, label].tolist())]
    return [{"experiment": "", "status": "computed", **line} for line in lines]


def draw_points(options: Mapping[str, Any], part: str) -> Points:
    """The points of a part, first those of the rare class."""
    counts = [options["sizes"][name] if part == "train" else options["target_size"] for name in CLASSES]
    draw = rng(options["seed"], "toy", "boundary", part)
    means = [options["means"][name] for name in CLASSES]
    inputs = np.concatenate([draw.normal(mean, options["sd"], (n, 2)) for mean, n in zip(means, counts, strict=True)])
    return Points(inputs, np.repeat([0, 1], counts))


def descend(train: Points, target: Points, options: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Logistic regressions (2 weights and a bias) by method, and TDR's weights at each outer step (steps + 1, 2)."""
    inner, outer, every = options["inner_rate"], options["outer_rate"], options["t_in"]
    plain = guided = np.zeros(3)
    raw, trace = np.full(2, 0.5), [np.full(2, 0.5)]
    equal = np.full(len(train.classes), 1 / len(train.classes))
    for step in range(1, options["steps"] + 1):
        plain = plain - inner * equal @ gradients(plain, train)
        of_each = gradients(guided, train)
        guided = guided - inner * weights_of(raw, train.classes) @ of_each
        if step % every == 0:  # eq. 9: the batch is that of the last inner step
            of_target = gradients(guided, target).mean(0)
            agreement = np.array([(of_each[train.classes == label] @ of_target).sum() for label in range(2)])
            raw = raw + outer * inner / len(of_each) * agreement
            used = np.clip(raw, 0, None)
            trace.append(used / used.sum())
    return {"none": plain, "tdr": guided}, np.array(trace)


def weights_of(raw: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Weights of examples (N,), which sum to 1, by those of their classes (2,): eqs. 6 and 7."""
    used = np.clip(raw, 0, None)[classes]
    return np.asarray(used / used.sum())


def gradients(theta: np.ndarray, points: Points) -> np.ndarray:
    """The gradient of each point's logistic loss (N, 3); the rare class is the positive one."""
    extended = np.column_stack([points.inputs, np.ones(len(points.inputs))])
    chance = 1 / (1 + np.exp(-(extended @ theta)))
    return np.asarray((chance - (points.classes == 0))[:, None] * extended)


def best_line(options: Mapping[str, Any]) -> np.ndarray:
    """What separates two round classes of one size best: the line halfway between their means (3,)."""
    rare, frequent = (np.asarray(options["means"][name], float) for name in CLASSES)
    normal = rare - frequent
    return np.append(normal, -normal @ (rare + frequent) / 2)


def balanced_accuracy(theta: np.ndarray, options: Mapping[str, Any]) -> float:
    """The share of each class that lies on its side of a line, averaged over both; classes are round and normal."""
    shares = []
    for sign, name in zip((1, -1), CLASSES, strict=True):
        distance = sign * (theta[:2] @ np.asarray(options["means"][name], float) + theta[2])
        shares.append(0.5 * (1 + math.erf(distance / (np.linalg.norm(theta[:2]) * options["sd"] * math.sqrt(2)))))
    return float(np.mean(shares))


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Points and lines (a), and the weights of both classes by outer step (b)."""
    options = material.artifact.options
    picture = sheet()
    left, right = picture.subplots(1, 2, width_ratios=(1.25, 1))
    _plane(left, rows[rows["panel"] == "a"])
    _weights(right, rows[rows["panel"] == "b"])
    letter(left, "a", "which line is learned")
    letter(right, "b", "how TDR weighs the classes")
    accuracies = rows[rows["metric"] == ACCURACY].set_index("method")["y"]
    said = "; ".join(f"{TITLES[str(method)]} {value:.3f}" for method, value in accuracies.items())
    counts = ", ".join(f"{options['sizes'][name]} {name}" for name in CLASSES)
    target = f"ringed: a target set of {options['target_size']} of each"
    shows = f"Points drawn by us ({counts}; {target}), one draw: a picture, no test"
    notes = [
        f"Share on the right side, mean of both classes: {said}",
        f"Logistic regression, {options['steps']} steps at η_in = {options['inner_rate']:g}; TDR: η_out = "
        f"{options['outer_rate']:g}, t_in = {options['t_in']}, batches of all points",
    ]
    finish(picture, material, shows, notes, _legend(), panels=2.9)
    return Figure(picture, rows)


def _plane(axes: Axes, rows: pd.DataFrame) -> None:
    for label, colour in reversed(list(enumerate(COLOURS))):
        mine = rows[rows["class"] == label]
        for metric, style in (
            (EXAMPLE, {"s": 9, "linewidth": 0}),
            (TARGET, {"s": 26, "edgecolor": INK, "linewidth": 0.8}),
        ):
            points = mine[mine["metric"] == metric]
            axes.scatter(
                points["x"], points["y"], color=colour, marker=MARKERS[label], zorder=2 + (metric == TARGET), **style
            )
    for method, ends in rows[rows["metric"] == DECISION_LINE].groupby("method", sort=False):
        axes.plot(ends["x"], ends["y"], color=_colour(str(method)), linestyle=LINES[str(method)], zorder=4)
    axes.set_xlim(*EDGES)
    axes.set_ylim(*HEIGHT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def _weights(axes: Axes, rows: pd.DataFrame) -> None:
    for label, name in enumerate(CLASSES):
        mine = rows[rows["class"] == label]
        axes.plot(mine["x"], mine["y"], color=COLOURS[label])
        end = (mine["x"].iloc[-1], mine["y"].iloc[-1])
        side: dict[str, Any] = {"xytext": (0, 4 if label else -11), "textcoords": "offset points", "ha": "right"}
        axes.annotate(name, end, color=MUTED, **side)
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.set_xlabel("outer step")
    axes.set_ylabel("weight of a class, share of both")


def _colour(method: str) -> str:
    return INK if method == "best" else look_of(method).colour


def _legend() -> list[tuple[Any, str]]:
    plain = look_of("none")
    lines = [(plain._replace(colour=_colour(one), marker="None"), TITLES[one], LINES[one]) for one in TITLES]
    points = [
        (plain._replace(colour=colour, marker=marker), f"{name} class", "none")
        for name, colour, marker in zip(CLASSES, COLOURS, MARKERS, strict=True)
    ]
    return [entry_of(*one) for one in [*lines, *points]]
