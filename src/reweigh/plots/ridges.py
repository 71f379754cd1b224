"""Accuracy by setting, and beside it which weights a method gave each class in the course of training, as ridges."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.ridges import BINS, QUANTILES, bin_edges
from reweigh.analysis.rows import CLASS_WEIGHT, DENSITY, INVERSE_FREQUENCY, Row, cell_names
from reweigh.analysis.tables import Material, class_weights, fingerprint, join_runs
from reweigh.plots import by_setting
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.style import INK, MUTED, empty, finish, letter, look_in, sheet

RIDGES = "b: {}, all outer steps of all seeds; heights are scaled to each class's mode"


class Line(Row, total=False):
    """A line, and on those of metric `class_weight` what the picture needs beside it."""

    first_edge: float  # of the bins, in the unit of a weight
    last_edge: float
    examples: int  # of the class, in the training part


def rows(material: Material, setting: str, method: str, metric: str = "test_accuracy") -> pd.DataFrame:
    """Panel a: the lines of `by_setting`. Panel b: for each class what `method` gave it at one setting.

    `class_weight`: mean, sd, 5 % and 95 % quantile over all steps of all seeds; all weights of a step sum to 1.
    `inverse_frequency`: what weights in proportion to 1/n would give. `class_weight_density`: how often the weight was
    near `x`, as a share of its mode; bins without any step have no line.
    """
    weights = pd.DataFrame(_weights(material, material.experiments[0], setting, method))
    return pd.concat([by_setting.rows(material, metric).assign(panel="a"), weights], ignore_index=True)


def _weights(material: Material, experiment: str, setting: str, method: str) -> list[Line]:
    runs = material.of(experiment, setting, method)
    traces = {run: class_weights(material.records[run], material.config.root) for run in runs["run"]}
    logged = {run: trace for run, trace in traces.items() if trace is not None and len(trace)}
    base: Line = {"panel": "b", **cell_names(material, experiment, setting, method), "n": len(logged)}
    if not logged:
        return [{**base, "metric": CLASS_WEIGHT, "status": "not run", "runs": "", "records": ""}]
    base["status"], base["runs"] = "run", join_runs(logged)
    base["records"] = fingerprint(material.records[run]["digest"] for run in logged)
    samples = np.concatenate(list(logged.values()))
    sizes = np.asarray(material.records[next(iter(logged))]["split"]["sizes"]["train"], float)
    inverse = inverse_frequency(samples, sizes)
    edges = bin_edges(samples, inverse)
    lines: list[Line] = []
    for label, values in enumerate(samples.T):
        mine: Line = {**base, "class": label}
        lines += _of_class(mine, values, float(inverse[label]), edges, int(sizes[label]))
    return lines


def _of_class(base: Line, values: np.ndarray, inverse: float, edges: np.ndarray, examples: int) -> list[Line]:
    low, high = np.quantile(values, QUANTILES)
    heights = np.histogram(values, edges)[0].astype(float)
    density = zip((edges[:-1] + edges[1:]) / 2, heights / heights.max(), strict=True)
    summary: Line = {
        **base,
        "metric": CLASS_WEIGHT,
        "mean": values.mean(),
        "sd": values.std(ddof=1),
        "low": low,
        "high": high,
        "note": "low, high: 5 and 95 % of all steps",
        "first_edge": edges[0],
        "last_edge": edges[-1],
        "examples": examples,
    }
    bins: list[Line] = [{**base, "metric": DENSITY, "x": x, "mean": y} for x, y in density if y > 0]
    return [summary, {**base, "metric": INVERSE_FREQUENCY, "mean": inverse}, *bins]


def inverse_frequency(samples: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Weights in proportion to 1 / class sizes (C,), whose sum is the mean sum of the samples (steps, C).

    A class without examples has none.
    """
    rarity = np.divide(1, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return rarity / rarity.sum() * samples.sum(1).mean()


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Two panels: accuracy by setting (a), and a ridge for each class: how often its weight had which value (b)."""
    picture = sheet(3.9)
    left, right = picture.subplots(1, 2, width_ratios=(1, 1.05))
    accuracy, weights = (rows[rows["panel"] == panel] for panel in "ab")
    by_setting.panel(left, material, accuracy, "test accuracy")
    letter(left, "a", "accuracy after the last epoch")
    experiment, setting, method = weights[["experiment", "setting", "method"]].iloc[0]
    run = not weights["n"].eq(0).all()
    if run:
        _ridges(right, weights, look_in(material, method).colour)
    else:
        empty(right, f"not run: {material.why_not(experiment, setting, method)}")
        right.set_axis_off()
    letter(right, "b", f"class weights during training, ρ = {material.label(experiment, setting)}")
    notes = [*missing_notes(material, rows), *([RIDGES.format(material.title(method))] if run else [])]
    shows = seeds_text(accuracy, by_setting.SHOWS)
    finish(picture, material, shows, notes, by_setting.legend(material, accuracy))
    return Figure(picture, rows)


def _ridges(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """A ridge for each class; a bar marks weights in proportion to 1/n."""
    by_metric: Mapping[Any, pd.DataFrame] = dict(list(rows.groupby("metric")))
    classes = by_metric[CLASS_WEIGHT]
    edges = np.linspace(classes["first_edge"].iloc[0], classes["last_edge"].iloc[0], BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    densities = dict(list(by_metric[DENSITY].groupby("class")))
    for label, inverse in zip(classes["class"].astype(int), by_metric[INVERSE_FREQUENCY]["mean"], strict=True):
        heights = np.zeros(BINS)
        heights[np.searchsorted(edges, densities[label]["x"].to_numpy(float)) - 1] = densities[label]["mean"]
        _ridge(axes, label, centres, heights, inverse, colour)
    _label_ridges(axes, classes["examples"].astype(int).tolist())


def _ridge(axes: Axes, label: int, x: np.ndarray, heights: np.ndarray, inverse: float, colour: str) -> None:
    scaled = -label + 0.85 * heights
    axes.fill_between(x, -label, scaled, step="mid", color=colour, alpha=0.45, linewidth=0, zorder=3)
    axes.step(x, np.where(heights > 0, scaled, np.nan), where="mid", color=colour, linewidth=0.8, zorder=4)
    axes.plot([inverse, inverse], [-label, -label + 0.62], color=INK, linewidth=1.4, zorder=5)


def _label_ridges(axes: Axes, examples: list[int]) -> None:
    classes = len(examples)
    axes.set_yticks([-label for label in range(classes)], [f"{label} ({n:,})" for label, n in enumerate(examples)])
    axes.set_ylim(-classes + 0.8, 1.0)
    axes.set_ylabel("class (training images)")
    axes.set_xlabel("weight of the class (all weights sum to 1)")
    axes.plot([], [], color=INK, linewidth=1.4, label="in proportion to 1/n")
    handle = axes.get_legend_handles_labels()
    axes.legend(*handle, loc="upper right", handlelength=0.8, labelcolor=MUTED)
