"""AutoBalance's Figure 2, computed, with Lemma 1 beside it: what unequal balls, and unequal multipliers, do.

Panels a and b: two classes of points in the plane, one of them rare, and the line of the largest margin where every
point is a ball. Panel c: the logits of three classes at one input under gradient flow (`lemmas`).
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from reweigh.analysis.rows import DECISION_LINE, EXAMPLE, Row
from reweigh.analysis.tables import Material
from reweigh.plots.axes import powers
from reweigh.plots.figure import Figure, styled
from reweigh.plots.papers.autobalance.lemmas import distances, flow, limit, max_margin, radii
from reweigh.plots.style import INK, MUTED, finish, letter, sheet
from reweigh.streams import rng

RADIUS, DISTANCE, LOGIT, LIMIT = "ball_radius", "distance_of_class", "logit", "limit_of_logit"
CLASSES = ("majority", "minority")  # 0 and 1
COLOURS, MARKERS = ("#0072B2", "#D55E00"), ("o", "^")
OF_LOGITS = ("#0072B2", "#D55E00", "#009E73")
DASHED = (0, (4, 2))
TIMES = 80  # of the flow, that are shown
EDGES = np.array([-5.0, 5.0])


def rows(material: Material) -> pd.DataFrame:
    """The lines of the artifact's own options (see `toy_rows`)."""
    return pd.DataFrame(toy_rows(material.artifact.options))


def toy_rows(options: Mapping[str, Any]) -> list[Row]:
    """All that is shown, computed from the options alone.

    A panel for each ratio δ: `example`, a line a point; `ball_radius` and `distance_of_class` (from the line), in `y`,
    by class; `decision_line`, its two ends. Then a panel of `logit` (in `y`) by time (`x`), class and multipliers
    (`note`), and `limit_of_logit`, where the lemma's formula says that they end.
    """
    lines: list[Row] = []
    points, classes = draw_points(options)
    for panel, ratio in zip("ab", options["ratios"], strict=True):
        balls = radii(options["gap"], ratio, options["least_radius"])
        lines += [{"panel": panel, **line} for line in _plane_rows(points, classes, balls)]
    for multipliers in options["multipliers"]:
        lines += [{"panel": "c", **line} for line in _flow_rows(options, multipliers)]
    return [{"experiment": "", "status": "computed", **line} for line in lines]


def _plane_rows(points: np.ndarray, classes: np.ndarray, balls: tuple[float, float]) -> list[Row]:
    best = max_margin(points, classes, balls)
    places = zip(points.tolist(), classes.tolist(), strict=True)
    lines: list[Row] = [
        {"metric": EXAMPLE, "class": label, "example": place, "x": x, "y": y}
        for place, ((x, y), label) in enumerate(places)
    ]
    lines += [{"metric": RADIUS, "class": label, "y": balls[label]} for label in range(2)]
    apart = distances(best, points, classes)
    lines += [{"metric": DISTANCE, "class": label, "y": apart[label]} for label in range(2)]
    along = np.array([-best.normal[1], best.normal[0]])
    ends = -best.offset * best.normal + np.outer(EDGES, along)
    lines += [{"metric": DECISION_LINE, "x": x, "y": y} for x, y in ends.tolist()]
    return lines


def _flow_rows(options: Mapping[str, Any], multipliers: list[float]) -> list[Row]:
    times, logits = _flow(tuple(options["shares"]), tuple(multipliers), options["time"])
    wanted = np.geomspace(times[1], times[-1], TIMES)
    shown = sorted({0, *np.searchsorted(times, wanted - 1e-9).tolist()})
    note, ends = f"multipliers {', '.join(f'{one:g}' for one in multipliers)}", limit(options["shares"], multipliers)
    lines: list[Row] = []
    for label in range(len(ends)):
        of: Row = {"class": label, "note": note}
        lines += [{**of, "metric": LOGIT, "x": float(times[at]), "y": float(logits[at, label])} for at in shown]
        lines.append({**of, "metric": LIMIT, "y": float(ends[label])})
    return lines


_flow = functools.lru_cache(maxsize=16)(flow)  # `explain` asks for it line by line


def draw_points(options: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) and classes (N,), the majority first: hulls that are 2γ apart along the first coordinate.

    One point of each class lies at ±γ and height 0, the others by |normal| beyond it, normal in height.
    """
    draw = rng(options["seed"], "toy", "margins")
    parts, labels = [], []
    for label, name in enumerate(CLASSES):
        count, side = options["sizes"][name], 2 * label - 1
        beyond = np.abs(draw.normal(0, options["spread"], count))
        beyond[0] = 0
        height = draw.normal(0, 1.3 * options["spread"], count)
        height[0] = 0
        parts.append(np.column_stack([side * (options["gap"] + beyond), height]))
        labels.append(np.full(count, label))
    return np.concatenate(parts), np.concatenate(labels)


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Points with their balls and the line between them, once for each δ (a, b); logits by time (c)."""
    options = material.artifact.options
    picture = sheet()
    panels = picture.subplots(1, 3, width_ratios=(1, 1, 1.05))
    for axes, name, ratio in zip(panels, "ab", options["ratios"], strict=False):
        mine = rows[rows["panel"] == name]
        _plane(axes, mine, options["gap"])
        letter(axes, name, "equal radii" if ratio == 1 else f"a larger radius of the minority, δ = {ratio:g}")
    _logits(panels[2], rows[rows["panel"] == "c"], options)
    letter(panels[2], "c", "multipliers and argmax")
    counts = " and ".join(f"{options['sizes'][name]} {name}" for name in CLASSES[::-1])
    shows = (
        f"a, b: {counts} points drawn by us, one draw: a picture, no test; the line of the largest margin where every "
        "point is a ball, y (w·x + b) ≥ 1 + ε_y ‖w‖; dotted in b: that of equal radii"
    )
    finish(picture, material, shows, _notes(rows, options), _legend(), panels=2.6)
    return Figure(picture, rows)


def _notes(rows: pd.DataFrame, options: Mapping[str, Any]) -> list[str]:
    shifted = rows[rows["panel"] == "b"]
    by_metric = {name: of.set_index("class")["y"] for name, of in shifted.groupby("metric") if name != EXAMPLE}
    ratio, gap = options["ratios"][1], options["gap"]
    formula = 2 * gap * (ratio - 1) / (ratio + 1)
    balls, apart = by_metric[RADIUS], by_metric[DISTANCE]
    notes = [
        f"b (Lemma 2): ε₁ − ε₀ = {balls[1] - balls[0]:.3f} moves the line to distances {apart[1]:.3f} (minority) and "
        f"{apart[0]:.3f}: ratio {apart[1] / apart[0]:.3f}; by 2γ(δ − 1)/(δ + 1) it takes {formula:.3f} at γ = {gap:g}"
    ]
    shares = ", ".join(f"{share:g}" for share in options["shares"])
    ends = rows[rows["metric"] == LIMIT]
    for note, of in ends.groupby("note", sort=False):
        values = ", ".join(f"{value:.3f}" for value in of["y"]).replace("-", "−")
        notes.append(f"c (Lemma 1): P = ({shares}), {note}: logits → ({values}), argmax class {of['y'].argmax() + 1}")
    return notes


def _plane(axes: Axes, rows: pd.DataFrame, gap: float) -> None:
    balls = rows[rows["metric"] == RADIUS].set_index("class")["y"]
    for label in range(2):
        mine = rows[(rows["metric"] == EXAMPLE) & (rows["class"] == label)]
        if balls[label] > 0:
            circles = [Circle((x, y), balls[label]) for x, y in zip(mine["x"], mine["y"], strict=True)]
            axes.add_collection(PatchCollection(circles, facecolor=COLOURS[label], alpha=0.1, linewidth=0))
        axes.scatter(mine["x"], mine["y"], s=11, color=COLOURS[label], marker=MARKERS[label], linewidth=0, zorder=3)
    if balls[0] != balls[1]:
        axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=2)
    ends = rows[rows["metric"] == DECISION_LINE]
    axes.plot(ends["x"], ends["y"], color=INK, zorder=4)
    axes.set_xlim(-3.4 * gap, 3.4 * gap)
    axes.set_ylim(-3.8 * gap, 3.8 * gap)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", anchor="N")
    axes.grid(visible=False)


def _logits(axes: Axes, rows: pd.DataFrame, options: Mapping[str, Any]) -> None:
    """Dashed: the first multipliers; in full: the others, whose largest logit is not that of the likeliest class."""
    notes = list(dict.fromkeys(rows["note"]))
    for (note, label), mine in rows.groupby(["note", "class"], sort=False):
        path, first = mine[mine["metric"] == LOGIT], note == notes[0]
        style: dict[str, Any] = {"linestyle": DASHED if first else "-", "linewidth": 1.0 if first else 1.5}
        axes.plot(path["x"], path["y"], color=OF_LOGITS[int(label)], **style)
        end = mine[mine["metric"] == LIMIT]["y"].iloc[0]
        if not first:
            text = f"class {int(label) + 1}"
            place: dict[str, Any] = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": 6.5}
            axes.annotate(text, (options["time"], end), color=OF_LOGITS[int(label)], annotation_clip=False, **place)
    axes.set_xscale("symlog", linthresh=1)
    powers(axes.xaxis)
    axes.set_xlim(0, options["time"])
    axes.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_xlabel("time of the gradient flow")
    axes.set_ylabel("logit")


def _legend() -> list[tuple[Any, str]]:
    dot: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    points = [
        (Line2D([], [], color=colour, marker=marker, **dot), name)
        for name, colour, marker in zip(CLASSES, COLOURS, MARKERS, strict=True)
    ]
    return [
        *points,
        (Line2D([], [], color=INK), "decision line"),
        (Line2D([], [], color=MUTED), "c: unequal multipliers"),
        (Line2D([], [], color=MUTED, linestyle=DASHED, linewidth=1.0), "equal ones"),
    ]
