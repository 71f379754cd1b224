"""Learning curves: a metric on the test set against epochs and against training time."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material, cell_names, curve, single_row, summary_row
from reweigh.plots.style import (
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

DASHED = (0, (4, 2))
X = {"a": ("epoch", "epoch"), "b": ("minutes", "training time in minutes, evaluation left out")}


@styled
def learning_curves(material: Material, metric: str = "test_accuracy", ylabel: str = "test accuracy") -> Drawing:
    """Two panels: `metric` against epochs (a) and minutes (b), one colour a method, at the artifact's one setting.

    A line is the mean over seeds, its band the 95 % interval, thin lines are single seeds. Methods that the paper's
    figure does not have are dashed. csv: one line per method and epoch, and one per seed and epoch.
    """
    experiment = material.experiments[0]
    setting = material.settings(experiment)[-1]
    figure = sheet(3.0)
    panels = dict(zip("ab", figure.subplots(1, 2, sharey=True), strict=True))
    frames = [
        _of_method(material, experiment, setting, method, metric) for method in material.methods(experiment, setting)
    ]
    for place, frame in enumerate(frames):
        for panel, axes in panels.items():
            _draw(axes, material, frame, X[panel][0], place)
    data = pd.concat(frames, ignore_index=True)
    for panel, axes in panels.items():
        letter(axes, panel, "against epochs" if panel == "a" else "against time")
        axes.set_xlabel(X[panel][1])
        axes.set_xlim(left=0)
        if not (data["n"] > 0).any():
            empty(axes, "not run")
    _limits(panels["a"], data)
    panels["a"].set_ylabel(ylabel)
    devices = sorted(set(material.runs["device"]))
    where = [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    shows = f"{seeds_text(data, 'band: 95 % interval (Student t), thin lines: single seeds')}; last epoch is the result"
    finish(figure, material, shows, [*missing_notes(material, data), *where], _legend(material, experiment, frames))
    return Drawing(figure, data)


def _of_method(material: Material, experiment: str, setting: str, method: str, metric: str) -> pd.DataFrame:
    """The lines of one method: aggregated (seed empty), then by seed; a single line `not run` if it has no records."""
    runs = material.of(experiment, setting, method)
    base = {"panel": "ab", **cell_names(material, experiment, setting, method), "metric": metric}
    singles = [
        curve(material.records[row.run], metric).assign(
            seed=row.seed, run=row.run, digest=row.digest, status=row.status
        )
        for row in runs.itertuples()
    ]
    points = pd.concat(singles, ignore_index=True) if singles else pd.DataFrame(columns=["epoch"])
    rows: list[dict[str, Any]] = [
        {"epoch": epoch, "minutes": group["minutes"].mean(), **summary_row(group, metric)}
        for epoch, group in points.groupby("epoch")
    ]
    rows += [
        {"seed": row["seed"], "epoch": row["epoch"], "minutes": row["minutes"], **single_row(row, metric)}
        for row in points.to_dict("records")
        if not pd.isna(row[metric])
    ]
    lines = pd.DataFrame([{**base, **row} for row in rows or [summary_row(runs, metric)]])
    return lines.reindex(columns=list(dict.fromkeys([*base, "seed", "epoch", "minutes", *lines.columns])))


def _draw(axes: Axes, material: Material, frame: pd.DataFrame, x: str, place: int) -> None:
    """One method in one panel; markers of different methods stand at different epochs."""
    method = frame["method"].iloc[0]
    chosen, optional = look_in(material, method), material.is_optional(frame["experiment"].iloc[0], method)
    mean = frame[frame["seed"].isna()]
    if not (mean["n"] > 0).any():
        return
    every = max(1, len(mean) // 7)
    style: dict[str, Any] = {"linewidth": 1.0, "linestyle": DASHED, "zorder": 2} if optional else {"zorder": 4}
    first = (len(mean) - 1 - place * every // 5) % every
    axes.plot(mean[x], mean["mean"], color=chosen.colour, markevery=(first, every), **marker_style(chosen), **style)
    if optional:
        return
    axes.fill_between(
        mean[x], mean["low"].astype(float), mean["high"].astype(float), color=chosen.colour, alpha=0.15, linewidth=0
    )
    for _, single in frame[frame["seed"].notna()].groupby("seed"):
        axes.plot(single[x], single["mean"], color=chosen.colour, alpha=0.3, linewidth=0.5, zorder=3)


def _legend(material: Material, experiment: str, frames: list[pd.DataFrame]) -> list[tuple[Any, str]]:
    entries = []
    for frame in frames:
        method, run = frame["method"].iloc[0], (frame["n"] > 0).any()
        title = material.title(method) + ("" if run else " (not run)")
        entries.append(entry(material, method, title, DASHED if material.is_optional(experiment, method) else "-"))
    return entries


def _limits(axes: Axes, data: pd.DataFrame) -> None:
    """From a tenth below the lowest point (0.4 in the paper, where ours allow it) to a little above 1."""
    drawn = data["mean"].dropna()
    lowest = min(0.4, float(np.floor((drawn.min() - 0.02) * 10) / 10)) if len(drawn) else 0.0
    axes.set_ylim(max(-0.02, lowest), 1.02)
