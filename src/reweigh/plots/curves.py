"""Learning curves: a metric on the test set against epochs and against training time."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import Row, cell_names, of_cells, of_seeds, single_row, summary_row
from reweigh.analysis.tables import Material, curve
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.style import empty, entry, finish, letter, look_in, marker_style, sheet

DASHED = (0, (4, 2))
X = {"a": ("epoch", "epoch"), "b": ("minutes", "training time in minutes, evaluation left out")}


def rows(material: Material, metric: str = "test_accuracy") -> pd.DataFrame:
    """`metric` by epoch at the artifact's one setting: for each method a line per epoch, then one per seed and epoch.

    A method without records has one line, `not run`.
    """
    experiment = material.experiments[0]
    setting = material.settings(experiment)[-1]
    methods = material.methods(experiment, setting)
    return pd.concat([_of_method(material, experiment, setting, one, metric) for one in methods], ignore_index=True)


def _of_method(material: Material, experiment: str, setting: str, method: str, metric: str) -> pd.DataFrame:
    """The lines of one method: aggregated (seed empty), then by seed; a single line `not run` if it has no records."""
    runs = material.of(experiment, setting, method)
    base: Row = {"panel": "ab", **cell_names(material, experiment, setting, method), "metric": metric}
    singles = [
        curve(material.records[row.run], metric).assign(
            seed=row.seed, run=row.run, digest=row.digest, status=row.status
        )
        for row in runs.itertuples()
    ]
    points = pd.concat(singles, ignore_index=True) if singles else pd.DataFrame(columns=["epoch"])
    lines: list[Row] = [
        {"epoch": epoch, "minutes": group["minutes"].mean(), **summary_row(group, metric)}
        for epoch, group in points.groupby("epoch")
    ]
    lines += [
        {"seed": row["seed"], "epoch": row["epoch"], "minutes": row["minutes"], **single_row(row, metric)}
        for row in points.to_dict("records")
        if pd.notna(row[metric]) or row["status"] == "diverged"
    ]
    data = pd.DataFrame([{**base, **line} for line in lines or [summary_row(runs, metric)]])
    return data.reindex(columns=list(dict.fromkeys([*base, "seed", "epoch", "minutes", *data.columns])))


@styled
def draw(material: Material, rows: pd.DataFrame, ylabel: str = "test accuracy") -> Figure:
    """Two panels: against epochs (a) and minutes (b), one colour a method.

    A line is the mean over seeds, its band the 95 % interval, thin lines are single seeds. Methods that the paper's
    figure does not have are dashed.
    """
    picture = sheet(3.0)
    panels = dict(zip("ab", picture.subplots(1, 2, sharey=True), strict=True))
    by_method = [lines for _, lines in rows.groupby("method", sort=False)]
    for place, lines in enumerate(by_method):
        for panel, axes in panels.items():
            _draw(axes, material, lines, X[panel][0], place)
    for panel, axes in panels.items():
        letter(axes, panel, "against epochs" if panel == "a" else "against time")
        axes.set_xlabel(X[panel][1])
        axes.set_xlim(left=0)
        if not (rows["n"] > 0).any():
            empty(axes, "not run")
    _limits(panels["a"], rows)
    panels["a"].set_ylabel(ylabel)
    devices = sorted(set(material.runs["device"]))
    where = [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    shows = f"{seeds_text(rows, 'band: 95 % interval (Student t), thin lines: single seeds')}; last epoch is the result"
    finish(picture, material, shows, [*missing_notes(material, rows), *where], _legend(material, by_method))
    return Figure(picture, rows)


def _draw(axes: Axes, material: Material, rows: pd.DataFrame, x: str, place: int) -> None:
    """One method in one panel; markers of different methods stand at different epochs."""
    method = rows["method"].iloc[0]
    chosen, optional = look_in(material, method), material.is_optional(rows["experiment"].iloc[0], method)
    mean = of_cells(rows)
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
    for _, single in of_seeds(rows).groupby("seed"):
        axes.plot(single[x], single["mean"], color=chosen.colour, alpha=0.3, linewidth=0.5, zorder=3)


def _legend(material: Material, by_method: list[pd.DataFrame]) -> list[tuple[Any, str]]:
    entries = []
    for rows in by_method:
        experiment, method = rows[["experiment", "method"]].iloc[0]
        title = material.title(method) + ("" if (rows["n"] > 0).any() else " (not run)")
        entries.append(entry(material, method, title, DASHED if material.is_optional(experiment, method) else "-"))
    return entries


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """From a tenth below the lowest point (0.4 in the paper, where ours allow it) to a little above 1."""
    shown = rows["mean"].dropna()
    lowest = min(0.4, float(np.floor((shown.min() - 0.02) * 10) / 10)) if len(shown) else 0.0
    axes.set_ylim(max(-0.02, lowest), 1.02)
