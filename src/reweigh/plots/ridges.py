"""Accuracy by setting, and beside it which weights a method gave each class in the course of training, seed by seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from reweigh.analysis.ridges import BINS, QUANTILES, bin_edges, shares
from reweigh.analysis.rows import CLASS_WEIGHT, DENSITY, INVERSE_FREQUENCY, Row, cell_names
from reweigh.analysis.tables import Material, class_weights, fingerprint, join_runs
from reweigh.plots import by_setting
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS, chosen
from reweigh.plots.style import INK, MUTED, empty, finish, letter, own_look, sheet

SHOWS = (
    "{}: a strip is a seed, the darker the more of its outer steps gave that weight; dots: means over a seed's steps"
)
FILLED = 0.84  # of a class's place that its strips fill


class Line(Row, total=False):
    """A line, and on those of metric `class_weight` what the picture needs beside it."""

    first_edge: float  # of the bins, in the unit of a weight
    last_edge: float
    examples: int  # of the class, in the training part


def rows(
    material: Material,
    setting: str,
    methods: Sequence[str],
    metric: str = "test_accuracy",
    panels: Sequence[Sequence[Any]] = (),
) -> pd.DataFrame:
    """First the lines of `by_setting`, then a panel for each of `methods` that logged weights at one setting.

    `class_weight`: mean, sd, 5 % and 95 % quantile over all steps, of each seed and of all, as shares of the sum of a
    step's weights. `inverse_frequency`: what weights in proportion to 1/n would give. `class_weight_density`: how often
    a seed's weight was near `x`, as a share of its mode; bins without any step have no line.
    """
    experiment = material.experiments[0]
    panels = panels or [("", material.methods(experiment))]
    frames = [by_setting.rows(material, metric, panels)]
    first = frames[0]["panel"].nunique()
    kept = [method for method in methods if not material.left_out(experiment, method)] or methods
    shown = [method for method in kept if not material.of(experiment, setting, method).empty] or kept[:1]
    for place, method in enumerate(shown, first):
        lines = weight_rows(material, experiment, setting, method)
        frames.append(pd.DataFrame(lines).assign(panel=LETTERS[place]))
    return pd.concat(frames, ignore_index=True)


def weight_rows(material: Material, experiment: str, setting: str, method: str) -> list[Line]:
    """The lines of a method's class weights: of all seeds, then of each seed."""
    runs = material.of(experiment, setting, method)
    traces = {run: class_weights(material.records[run], material.config.root) for run in runs["run"]}
    logged = {run: shares(trace) for run, trace in traces.items() if trace is not None and len(trace)}
    base: Line = {"panel": "", **cell_names(material, experiment, setting, method), "n": len(logged)}
    if not logged:
        return [{**base, "metric": CLASS_WEIGHT, "status": "not run", "runs": "", "records": ""}]
    base |= {"status": "run", "seed": None}
    sizes = np.asarray(material.records[next(iter(logged))]["split"]["sizes"]["train"], float)
    lines = [line for line in _of_runs(material, base, logged, sizes) if line["metric"] != DENSITY]
    for run, trace in logged.items():
        mine: Line = {**base, "seed": int(run.rsplit("seed", 1)[1]), "n": 1}
        lines += [line for line in _of_runs(material, mine, {run: trace}, sizes) if line["metric"] != INVERSE_FREQUENCY]
    return lines


def _of_runs(material: Material, base: Line, logged: dict[str, np.ndarray], sizes: np.ndarray) -> list[Line]:
    """For each class its weight over all steps of some runs, its inverse frequency, and its density."""
    base = {**base, "runs": join_runs(logged)}
    base["records"] = fingerprint(material.records[run]["digest"] for run in logged)
    samples = np.concatenate(list(logged.values()))
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
        "sd": values.std(ddof=1) if len(values) > 1 else None,
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
def draw(material: Material, rows: pd.DataFrame, panels: Sequence[Sequence[Any]] = ()) -> Figure:
    """Above, accuracy by setting, a panel for each of `panels`; below, for each method the weights of each class."""
    is_weight = rows["metric"].isin((CLASS_WEIGHT, INVERSE_FREQUENCY, DENSITY))
    accuracy = [lines for _, lines in rows[~is_weight].groupby("panel")]
    weights = [(str(name), lines) for name, lines in rows[is_weight].groupby("panel")]
    experiment = accuracy[0]["experiment"].iloc[0]
    titles = [one.title or "accuracy after the last epoch" for one in chosen(material, experiment, panels)]
    picture = sheet()
    whole = picture.add_gridspec(2, 1, height_ratios=(2.5, 3.4))
    upper, lower = whole[0].subgridspec(1, len(accuracy)), whole[1].subgridspec(1, len(weights))
    above = upper.subplots(sharey=True, squeeze=False)[0]
    below = lower.subplots(sharey=True, squeeze=False)[0]
    for place, (axes, title, lines) in enumerate(zip(above, titles, accuracy, strict=True)):
        ylabel = f"test accuracy{by_setting.LOGARITHMIC}" if place == 0 else ""
        by_setting.panel(axes, material, lines, ylabel)
        letter(axes, LETTERS[place], title)
    by_setting.vertical(above, material, pd.concat(accuracy), errors=True)
    for axes, (name, lines) in zip(below, weights, strict=True):
        _strips(axes, material, name, lines)
    drawn = [name for name, lines in weights if not lines["n"].eq(0).all()]
    notes = [*missing_notes(material, rows), *([SHOWS.format(" and ".join(drawn))] if drawn else [])]
    shows = seeds_text(pd.concat(accuracy), by_setting.SHOWS)
    finish(picture, material, shows, notes, by_setting.legend(material, accuracy), panels=6.2)
    return Figure(picture, rows)


def _strips(axes: Axes, material: Material, name: str, rows: pd.DataFrame) -> None:
    """A panel of weights: a strip for each class and seed; a bar marks weights in proportion to 1/n."""
    experiment, setting, method = rows[["experiment", "setting", "method"]].iloc[0]
    where = f"{material.title(method)}, ρ = {material.label(experiment, setting)}: weights during training"
    letter(axes, name, where)
    if rows["n"].eq(0).all():
        empty(axes, f"not run: {material.why_not(experiment, setting, method)}")
        axes.set_axis_off()
        return
    look = own_look(material, method)
    colour = look.colour if look else INK
    shades = LinearSegmentedColormap.from_list("shades", ["#ffffff", colour, "#10243a"])
    classes, singles = rows[(rows["metric"] == CLASS_WEIGHT) & rows["seed"].isna()], rows[rows["seed"].notna()]
    seeds = sorted(singles["seed"].unique())
    height = FILLED / len(seeds)
    for place, seed in enumerate(seeds):
        mine = singles[singles["seed"] == seed]
        for label, lines in mine.groupby("class"):
            foot = -label + FILLED / 2 - (place + 1) * height
            _strip(axes, lines, foot, 0.82 * height, shades)
    inverse = rows[rows["metric"] == INVERSE_FREQUENCY].set_index("class")["mean"]
    for label, value in inverse.items():
        axes.plot([value, value], [-label - 0.46, -label + 0.46], color="#D55E00", linewidth=1.3, zorder=5)
    _label_classes(axes, classes["examples"].astype(int).tolist())


def _strip(axes: Axes, rows: pd.DataFrame, foot: float, height: float, shades: LinearSegmentedColormap) -> None:
    """One class of one seed: how often its weight had which value, as shades, and its mean as a dot."""
    summary, density = rows[rows["metric"] == CLASS_WEIGHT].iloc[0], rows[rows["metric"] == DENSITY]
    edges = np.linspace(summary["first_edge"], summary["last_edge"], BINS + 1)
    heights = np.full(BINS, np.nan)
    heights[np.searchsorted(edges, density["x"].to_numpy(float)) - 1] = 0.12 + 0.88 * density["mean"].to_numpy(float)
    axes.pcolormesh(
        edges, [foot, foot + height], heights[None, :], cmap=shades, vmin=0, vmax=1, zorder=3, rasterized=True
    )
    axes.plot(summary["mean"], foot + height / 2, "o", color="white", markersize=1.6, markeredgecolor=INK,
              markeredgewidth=0.4, zorder=4)  # fmt: skip


def _label_classes(axes: Axes, examples: list[int]) -> None:
    classes = len(examples)
    axes.set_yticks([-label for label in range(classes)], [f"{label} ({n:,})" for label, n in enumerate(examples)])
    axes.set_ylim(-classes + 0.45, 0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    if axes.get_subplotspec() is None or axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("class (training images)")
    axes.set_xlabel("weight of the class, as a share of all")
    axes.plot([], [], color="#D55E00", linewidth=1.3, label="in proportion to 1/n")
    axes.legend(loc="upper right", handlelength=0.8, labelcolor=MUTED)
