"""Accuracy by the strength λ of the penalty, a series a method, a panel a kind of classes.

The first panel is what chooses λ: balanced accuracy on training examples that are held out, by their given labels. What
it chooses for a method is marked in all panels.
"""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reweigh.analysis.rows import Row, cell_names, frame, summary_row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.style import INK, MUTED, empty, entry, finish, look_in, marker_style, sheet

CHOOSES = "validation_balanced_accuracy"
ROW = 1.62  # inches: of a row of panels
DODGE = 0.035  # of a decade: between two methods at one λ
FAR = 3.0  # a mean is beyond an axis if it is so many times as far below the median as the best is above it
LEAST = 1.0  # points: from the median to the best mean, at the least


class Sweep(NamedTuple):
    """Experiments whose settings are values of λ, each with its methods, and a cell without penalty beside them."""

    parts: Sequence[tuple[str, Sequence[str]]]
    plain: tuple[str, str, str] | None = None  # experiment, setting, method

    @property
    def experiments(self) -> list[str]:
        return [experiment for experiment, _ in self.parts]


def rows(material: Material, sweeps: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """For each of `sweeps`, metric of `columns` (metric, head) and method a line a λ; then one of the plain cell.

    `sweeps` are ([(experiment, methods)][, (experiment, setting, method) of the plain cell]). Metrics that no run of a
    sweep has have no line.
    """
    lines: list[dict[str, Any]] = []
    for number, sweep in enumerate(starmap(Sweep, sweeps)):
        runs = material.runs[material.runs["experiment"].isin(sweep.experiments)]
        cells = [
            (experiment, setting, name)
            for experiment, methods in sweep.parts
            for name in methods
            if name in material.methods(experiment)
            for setting in material.settings(experiment)
        ]
        cells += [sweep.plain] if sweep.plain else []
        for metric, _ in columns:
            if runs.empty or runs[metric].notna().any():
                lines += [{**_line(material, cell, metric), "place": number} for cell in cells]
    return frame(lines)


def _line(material: Material, cell: tuple[str, str, str], metric: str) -> Row:
    summary = summary_row(material.of(*cell), metric)
    note = "" if summary["runs"] else material.why_not(*cell)
    return {"panel": "", **cell_names(material, *cell), **summary, "note": note}


@styled
def draw(
    material: Material, rows: pd.DataFrame, sweeps: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]]
) -> Figure:
    """A block of panels for each sweep that has runs, a panel a metric; bands: the plain cell."""
    asked = list(starmap(Sweep, sweeps))
    swept = pd.Series([line.experiment in asked[line.place].experiments for line in rows.itertuples()], rows.index)
    run = swept & (rows["n"] > 0)
    places = sorted(set(rows[run]["place"])) or [0]
    heads, grids = dict(columns), [_metrics(rows, place, columns) for place in places]
    widths = [len(metrics) if len(metrics) <= 4 else 3 for metrics in grids]
    heights = [-(-len(metrics) // width) for metrics, width in zip(grids, widths, strict=True)]
    picture = sheet()
    parts = picture.subfigures(len(places), 1, squeeze=False, height_ratios=[one + 0.18 for one in heights])[:, 0]
    letters = iter(LETTERS)
    for part, place, metrics, width in zip(parts, places, grids, widths, strict=True):
        drawn = part.subplots(-(-len(metrics) // width), width, squeeze=False, sharex=True).ravel()
        mine, sweep = rows[rows["place"] == place], asked[place]
        chosen = _chosen(material, mine, sweep)
        for axes in drawn[len(metrics) :]:
            axes.set_axis_off()
        for number, (axes, metric) in enumerate(zip(drawn, metrics, strict=False)):
            _panel(axes, material, mine[mine["metric"] == metric], sweep, chosen)
            _titled(axes, next(letters), heads[metric])
            below = number + width >= len(metrics)
            axes.tick_params(labelbottom=below)
            axes.set_xlabel("λ (logarithmic)" if below else "")
            axes.set_ylabel("" if number % width else "balanced accuracy (%)")
        title = material.experiment(sweep.experiments[0]).title
        part.suptitle(title, x=0.008, ha="left", fontsize=8, weight="bold")
    shown = rows[rows["place"].isin(places)]
    others = [sweep for number, sweep in enumerate(asked) if number not in places]
    absent = [material.experiment(name).title for sweep in others for name in sweep.experiments]
    notes = [
        "Held-out examples have their given labels, some of them wrong. Larger, ringed: the λ that they choose, the "
        "mean over seeds being the best. Arrow: far below the axis; its number is the mean",
        *([f"Not run: {'; '.join(absent)}"] if absent else []),
        *missing_notes(material, shown[shown["metric"] == shown["metric"].iloc[0]]),
    ]
    shows = seeds_text(shown, "bars and band: 95 % interval (Student t), some beyond the axis")
    finish(picture, material, shows, notes, _legend(material, shown, asked),
           panels=0.25 + sum(ROW * (one + 0.18) for one in heights))  # fmt: skip
    return Figure(picture, rows)


def _titled(axes: Axes, name: str, text: str) -> None:
    """A panel's letter and title, beside each other; other than `style.letter` it widens no column."""
    axes.set_title(text, loc="left", fontsize=7, pad=4)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(name, (0, 1), xytext=(-3, 4), ha="right", weight="bold", size=9, **place)


def _metrics(rows: pd.DataFrame, place: int, columns: Sequence[tuple[str, str]]) -> list[str]:
    known = set(rows[rows["place"] == place]["metric"])
    return [metric for metric, _ in columns if metric in known]


def _chosen(material: Material, rows: pd.DataFrame, sweep: Sweep) -> dict[str, str]:
    """The setting that held-out examples choose for each method, as `reweigh tune` does; of equals the first."""
    found = {}
    for experiment, methods in sweep.parts:
        of_scale = material.config.settings_of(material.scale, material.paper, experiment)
        kept = rows[(rows["metric"] == CHOOSES) & (rows["experiment"] == experiment) & rows["setting"].isin(of_scale)]
        for method in methods:
            mine = kept[kept["method"] == method]
            scored = mine[mine["status"] == "run"]
            if len(scored) and (mine["status"] != "not run").all():
                found[method] = str(scored["setting"].iloc[int(np.argmax(scored["mean"]))])
    return found


def _panel(axes: Axes, material: Material, rows: pd.DataFrame, sweep: Sweep, chosen: dict[str, str]) -> None:
    """One metric: a line a method over λ, and the plain cell as a band across."""
    mine = rows[rows["experiment"].isin(sweep.experiments) & (rows["n"] > 0)]
    axes.grid(axis="x")
    if mine.empty:
        empty(axes, "not run")
        axes.set(xticks=[], yticks=[])
        return
    plain = rows[~rows["experiment"].isin(sweep.experiments) & (rows["n"] > 0)]
    for line in plain.to_dict("records"):
        axes.axhline(100 * line["mean"], color=MUTED, linewidth=1.0, zorder=1)
        if pd.notna(line["low"]):
            axes.axhspan(100 * line["low"], 100 * line["high"], color=MUTED, alpha=0.16, linewidth=0, zorder=0)
    places = dict.fromkeys(zip(mine["experiment"], mine["setting"], strict=True))
    values = sorted({float(material.value(*place)) for place in places})
    methods = list(dict.fromkeys(mine["method"]))
    low, high = limits(mine, plain["mean"].tolist())
    for rank, (method, of) in enumerate(mine.groupby("method", sort=False)):
        shift = 10 ** (DODGE * (rank - (len(methods) - 1) / 2))
        _series(axes, material, of, (shift, chosen.get(str(method), ""), low))
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.7, values[-1] * 1.7)
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(low, high)


def limits(rows: pd.DataFrame, others: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis of a metric, in per cent: as far as means go, and intervals at most as far again.

    Means that are beyond do not count: λ that keep a net from learning anything would hide all else.
    """
    means = 100 * np.concatenate([rows["mean"].to_numpy(), others])
    middle, best = float(np.median(means)), float(means.max())
    near = means[means >= middle - FAR * max(LEAST, best - middle)]
    span = max(LEAST, best - float(near.min()))
    inside = rows[100 * rows["mean"] >= near.min() - 1e-9]
    ends = 100 * inside[["low", "high"]].to_numpy().ravel()
    ends = ends[np.isfinite(ends)].clip(near.min() - span, best + span)
    low, high = min([near.min(), *ends]), max([best, *ends])
    margin = 0.08 * max(LEAST, high - low)
    return max(-2.0, float(low - margin)), min(102.0, float(high + margin))


def _series(axes: Axes, material: Material, rows: pd.DataFrame, drawn: tuple[float, str, float]) -> None:
    """One method; `drawn`: what its places are multiplied by, the setting that is chosen, and the end of the axis."""
    shift, chosen, low = drawn
    look = look_in(material, rows["method"].iloc[0])
    x = np.array([float(material.value(*place)) for place in zip(rows["experiment"], rows["setting"], strict=True)])
    order = np.argsort(x)
    means = 100 * rows["mean"].to_numpy()
    axes.plot(shift * x[order], means[order], color=look.colour, linewidth=1.1, alpha=0.75, zorder=3)
    for at, line in zip(shift * x, rows.to_dict("records"), strict=True):
        mean, is_chosen = 100 * line["mean"], line["setting"] == chosen
        if mean < low:
            axes.plot(at, low, "v", color=look.colour, markersize=4, clip_on=False, zorder=6)
            beside: dict[str, Any] = {"xytext": (4, 2), "textcoords": "offset points", "ha": "left", "fontsize": 5.5}
            axes.annotate(f"{mean:.0f}", (at, low), color=look.colour, va="bottom", **beside)
            continue
        style: dict[str, Any] = {**marker_style(look), "markersize": 6.5 if is_chosen else 4}
        style |= {"markeredgecolor": INK, "markeredgewidth": 1.1} if is_chosen else {}
        axes.plot(at, mean, linestyle="none", zorder=6 if is_chosen else 5, **style)
        if pd.notna(line["low"]):
            axes.plot([at, at], [100 * line["low"], 100 * line["high"]], color=look.colour, linewidth=1.2, zorder=4)


def _legend(material: Material, rows: pd.DataFrame, sweeps: Sequence[Sweep]) -> list[tuple[Any, str]]:
    run = rows[rows["n"] > 0]
    experiments = {name for sweep in sweeps for name in sweep.experiments}
    methods = dict.fromkeys(run[run["experiment"].isin(experiments)]["method"])
    entries: list[tuple[Any, str]] = [entry(material, method) for method in methods]
    plain = dict.fromkeys(run[~run["experiment"].isin(experiments)]["method"])
    entries += [(Patch(facecolor=MUTED, alpha=0.4, edgecolor=MUTED), material.title(method)) for method in plain]
    if methods:
        ring: dict[str, Any] = {"marker": "o", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": INK}
        entries.append((Line2D([], [], linestyle="none", markeredgewidth=1.1, **ring), "chosen on held-out examples"))
    return entries
