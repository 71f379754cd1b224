"""A metric against the imbalance ratio, and the distribution of learned class weights."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material, cell_names, class_weights, fingerprint, pack, single_row, summary_row
from reweigh.plots.style import (
    INK,
    MUTED,
    Drawing,
    empty,
    entry,
    finish,
    letter,
    look_in,
    marker_style,
    missing_notes,
    seeds_text,
    sheet,
    styled,
)

BINS = 80
RIDGES = "b: {}, all outer steps of all seeds; heights are scaled to each class's mode"
DASHED = (0, (4, 2))


@styled
def accuracy_by_ratio(material: Material, metric: str = "test_accuracy", ylabel: str = "test accuracy") -> Drawing:
    """One panel: `metric` after the last epoch at each setting, in the paper's order; points are single seeds.

    csv: one line per setting and method, and one per seed.
    """
    figure = sheet(3.6, width=4.6)
    axes = figure.subplots()
    data = draw_by_ratio(axes, material, material.experiments[0], metric, ylabel)
    shows = seeds_text(data, "bars: 95 % interval (Student t), dots: single seeds")
    finish(figure, material, shows, missing_notes(material, data), _legend(material, material.experiments[0], data))
    return Drawing(figure, data.drop(columns="panel"))


@styled
def accuracy_and_weights(material: Material, setting: str, method: str, metric: str = "test_accuracy") -> Drawing:
    """Two panels: `metric` against the ratio (a), and the class weights that `method` learned at one setting (b)."""
    experiment = material.experiments[0]
    figure = sheet(3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.05))
    by_ratio = draw_by_ratio(left, material, experiment, metric, "test accuracy")
    letter(left, "a", "accuracy after the last epoch")
    weights = draw_weights(right, material, experiment, setting, method)
    letter(right, "b", f"class weights during training, ρ = {material.label(experiment, setting)}")
    data = pd.concat([by_ratio, weights], ignore_index=True)
    finish(
        figure,
        material,
        seeds_text(by_ratio, "bars: 95 % interval (Student t), dots: single seeds"),
        [
            *missing_notes(material, data),
            *([] if weights["n"].eq(0).all() else [RIDGES.format(material.title(method))]),
        ],
        _legend(material, experiment, by_ratio),
    )
    return Drawing(figure, data)


def draw_by_ratio(axes: Axes, material: Material, experiment: str, metric: str, ylabel: str) -> pd.DataFrame:
    """Draw mean, interval and seeds of every method at every setting; return what was drawn."""
    settings, methods = material.settings(experiment), material.methods(experiment)
    rows: list[dict[str, Any]] = []
    for place, method in enumerate(methods):
        shift = 0.13 * (place - (len(methods) - 1) / 2)
        mine = [_cell(material, experiment, setting, method, metric) for setting in settings]
        known = [(x + shift, row) for x, row in enumerate(mine) if row["n"]]
        _line(axes, material, method, known)
        for x, row in known:
            runs = material.of(experiment, row["setting"], method)
            dots: dict[str, Any] = {"color": look_in(material, method).colour, "markersize": 2.5, "alpha": 0.6}
            axes.plot(np.full(len(runs), x + 0.045), runs[metric], ".", **dots)
            rows += _single(row, runs, metric)
        rows += mine
    axes.set_xticks(range(len(settings)), [material.label(experiment, setting) for setting in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xlabel(material.experiment(experiment).varies)
    axes.set_ylabel(ylabel)
    drawn = [row["mean"] for row in rows if row["n"]]
    axes.set_ylim(max(0.0, min(drawn) - 0.06) if drawn else 0, 1.01)
    if not drawn:
        empty(axes, "not run")
    return pd.DataFrame(rows).astype({"mean": float, "sd": float, "low": float, "high": float})


def _line(axes: Axes, material: Material, method: str, known: list[tuple[float, dict[str, Any]]]) -> None:
    """One method: its means with markers, a line through them, and their intervals."""
    if not known:
        return
    chosen, optional = look_in(material, method), material.is_optional(known[0][1]["experiment"], method)
    places, means = [x for x, _ in known], [row["mean"] for _, row in known]
    line = DASHED if optional else "-"
    axes.plot(places, means, color=chosen.colour, linewidth=0.9, alpha=0.7, linestyle=line)
    axes.plot(places, means, linestyle="none", zorder=4, **marker_style(chosen))
    for x, row in known:
        if row["low"] is not None:
            ends = [row["low"], row["high"]]
            axes.plot([x, x], ends, color=chosen.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)


def _legend(material: Material, experiment: str, data: pd.DataFrame) -> list[tuple[Any, str]]:
    run = set(data[data["n"] > 0]["method"])
    return [
        entry(material, method, material.title(method) + ("" if method in run else " (not run)"),
              DASHED if material.is_optional(experiment, method) else "-")
        for method in material.methods(experiment)
    ]  # fmt: skip


def _cell(material: Material, experiment: str, setting: str, method: str, metric: str) -> dict[str, Any]:
    published, published_sd = material.published_value(experiment, setting, method, metric)
    return {
        "panel": "a",
        **cell_names(material, experiment, setting, method),
        "seed": None,
        "published": published,
        "published_sd": published_sd,
        **summary_row(material.of(experiment, setting, method), metric),
    }


def _single(row: dict[str, Any], runs: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """One line for each seed's dot."""
    kept = {key: row[key] for key in ("panel", "experiment", "setting", "value", "method", "title")}
    known = runs[runs[metric].notna()].to_dict("records")
    return [{**kept, "seed": run["seed"], **single_row(run, metric)} for run in known]


# --- class weights ---------------------------------------------------------------------------------------------------


def draw_weights(axes: Axes, material: Material, experiment: str, setting: str, method: str) -> pd.DataFrame:
    """A ridge for each class: how often its weight had which value. A bar marks weights in proportion to 1/n_c.

    Lines of the csv: metric `class_weight` (mean, sd, 5 % and 95 % quantile over all steps of all seeds),
    `inverse_frequency` (what 1/n_c would give), `class_weight_density` (height at `x`, the mode being 1).
    """
    runs = material.of(experiment, setting, method)
    traces = {run: class_weights(material.records[run], material.config.root) for run in runs["run"]}
    known = {run: trace for run, trace in traces.items() if trace is not None and len(trace)}
    base = {"panel": "b", **cell_names(material, experiment, setting, method), "n": len(known)}
    if not known:
        empty(axes, f"not run: {material.why_not(experiment, setting, method)}")
        axes.set_axis_off()
        return pd.DataFrame([{**base, "metric": "class_weight", "status": "not run", "runs": "", "records": ""}])
    base |= {
        "status": "run",
        "runs": pack(known),
        "records": fingerprint(material.records[run]["digest"] for run in known),
    }
    samples = np.concatenate(list(known.values()))
    counts = np.asarray(material.records[next(iter(known))]["split"]["sizes"]["train"], float)
    inverse = (1 / counts) / (1 / counts).sum() * samples.sum(1).mean()
    edges, colour = _edges(samples, inverse), look_in(material, method).colour
    rows: list[dict[str, Any]] = []
    for label, values in enumerate(samples.T):
        height = np.histogram(values, edges)[0].astype(float)
        centres, height = (edges[:-1] + edges[1:]) / 2, height / height.max()
        _ridge(axes, label, centres, height, float(inverse[label]), colour)
        rows += _ridge_rows({**base, "class": label}, values, float(inverse[label]), centres, height)
    _label_ridges(axes, counts)
    return pd.DataFrame(rows)


def _ridge_rows(
    base: dict[str, Any], values: np.ndarray, inverse: float, centres: np.ndarray, height: np.ndarray
) -> list[dict[str, Any]]:
    """The csv lines of one ridge."""
    low, high = np.quantile(values, (0.05, 0.95))
    spread = {"mean": values.mean(), "sd": values.std(ddof=1), "low": low, "high": high}
    density = zip(centres, height, strict=True)
    return [
        {**base, "metric": "class_weight", **spread, "note": "low, high: 5 and 95 % of all steps"},
        {**base, "metric": "inverse_frequency", "mean": inverse},
        *({**base, "metric": "class_weight_density", "x": x, "mean": y} for x, y in density if y > 0),
    ]


def _edges(samples: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Bins over all that is drawn, a little room on both sides."""
    low, high = min(samples.min(), inverse.min()), max(samples.max(), inverse.max())
    room = 0.04 * (high - low) or 0.01
    return np.linspace(max(0.0, low - room), high + room, BINS + 1)


def _ridge(axes: Axes, label: int, x: np.ndarray, height: np.ndarray, inverse: float, colour: str) -> None:
    scaled = -label + 0.85 * height
    axes.fill_between(x, -label, scaled, step="mid", color=colour, alpha=0.45, linewidth=0, zorder=3)
    axes.step(x, np.where(height > 0, scaled, np.nan), where="mid", color=colour, linewidth=0.8, zorder=4)
    axes.plot([inverse, inverse], [-label, -label + 0.62], color=INK, linewidth=1.4, zorder=5)


def _label_ridges(axes: Axes, counts: np.ndarray) -> None:
    classes = len(counts)
    axes.set_yticks(
        [-label for label in range(classes)], [f"{label} ({int(count):,})" for label, count in enumerate(counts)]
    )
    axes.set_ylim(-classes + 0.8, 1.0)
    axes.set_ylabel("class (training images)")
    axes.set_xlabel("weight of the class (all weights sum to 1)")
    axes.plot([], [], color=INK, linewidth=1.4, label="in proportion to 1/n")
    handle = axes.get_legend_handles_labels()
    axes.legend(*handle, loc="upper right", handlelength=0.8, labelcolor=MUTED)
