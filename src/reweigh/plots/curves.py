"""Learning curves: a metric on the test set against epochs and against training time, a row for each set of values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from reweigh.analysis.rows import Row, cell_names, of_cells, single_row, summary_row
from reweigh.analysis.tables import Material, curve
from reweigh.config.cards import Look
from reweigh.plots.axes import chance_line
from reweigh.plots.by_setting import DASHED, legend
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS, chosen, is_extra, looks_in
from reweigh.plots.style import empty, finish, letter, marker_style, sheet

X = (("epoch", "epoch"), ("minutes", "training time in minutes, evaluation left out (logarithmic)"))
ROW = 2.05  # inches: the height of a row of panels


def rows(material: Material, metric: str = "test_accuracy", panels: Sequence[Sequence[Any]] = ()) -> pd.DataFrame:
    """`metric` by epoch at the artifact's one setting: for each method a line per epoch, then one per seed and epoch.

    A method without records has one line, `not run`. `panels` are (title, methods), see `panels.chosen`.
    """
    experiment = material.experiments[0]
    setting = material.settings(experiment)[-1]
    frames = [
        _of_method(material, experiment, setting, method, metric).assign(panel=LETTERS[2 * place : 2 * place + 2])
        for place, one in enumerate(chosen(material, experiment, panels))
        for method in one.methods
    ]
    return pd.concat(frames, ignore_index=True)


def _of_method(material: Material, experiment: str, setting: str, method: str, metric: str) -> pd.DataFrame:
    """The lines of one method: aggregated (seed empty), then by seed; a single line `not run` if it has no records."""
    runs = material.of(experiment, setting, method)
    base: Row = {"panel": "", **cell_names(material, experiment, setting, method), "metric": metric}
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
def draw(
    material: Material, rows: pd.DataFrame, ylabel: str = "test accuracy", panels: Sequence[Sequence[Any]] = ()
) -> Figure:
    """For each set of values two panels: against epochs, and against minutes on a logarithmic axis.

    A line is the mean over seeds, its band the 95 % interval. Methods that the paper's figure does not have are
    dashed.
    """
    titles = [one.title for one in chosen(material, rows["experiment"].iloc[0], panels)]
    by_panel = [lines for _, lines in rows.groupby("panel")]
    picture = sheet()
    drawn = picture.subplots(len(by_panel), 2, sharey=True, sharex="col", squeeze=False)
    for place, (title, lines) in enumerate(zip(titles, by_panel, strict=True)):
        looks = looks_in(material, list(dict.fromkeys(lines["method"])))
        for side, (axes, (x, label)) in enumerate(zip(drawn[place], X, strict=True)):
            for rank, (method, mine) in enumerate(lines.groupby("method", sort=False)):
                _draw(axes, material, of_cells(mine), x, looks[str(method)], rank)
            letter(axes, LETTERS[2 * place + side], title)
            if place == len(by_panel) - 1:
                axes.set_xlabel(label)
            if not (lines["n"] > 0).any():
                empty(axes, material.why_empty(lines["experiment"].iloc[0]))
        drawn[place][0].set_ylabel(ylabel)
    _horizontal(drawn[0], rows)
    drawn[0][0].set_ylim(*_limits(rows))
    if rows["metric"].iloc[0].endswith("accuracy"):
        for axes in drawn.flat:
            chance_line(axes, material, rows["experiment"].iloc[0])
    devices = sorted(set(material.runs["device"]))
    where = [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    shows = f"{seeds_text(rows, 'band: 95 % interval (Student t)')}; last epoch is the result"
    notes = [*missing_notes(material, rows), *where]
    finish(picture, material, shows, notes, legend(material, by_panel), panels=0.4 + ROW * len(by_panel))
    return Figure(picture, rows)


def _draw(axes: Axes, material: Material, mean: pd.DataFrame, x: str, look: Look, rank: int) -> None:
    """One method in one panel; markers of different methods stand at different epochs."""
    mean = mean[mean["n"] > 0].astype(dict.fromkeys(("epoch", "minutes", "mean", "low", "high"), float))
    if mean.empty:
        return
    experiment, method = mean[["experiment", "method"]].iloc[0]
    low, high = (mean[name].fillna(mean["mean"]) for name in ("low", "high"))
    axes.fill_between(mean[x], low, high, color=look.colour, alpha=0.16, linewidth=0, zorder=2)
    line = DASHED if is_extra(material, experiment, method) else "-"
    style: dict[str, Any] = {"linewidth": 1.2, "linestyle": line, "zorder": 4, "markersize": 4}
    axes.plot(
        mean[x], mean["mean"], color=look.colour, markevery=_markers(mean[x], x, rank), **marker_style(look), **style
    )


def _markers(places: pd.Series, x: str, rank: int) -> list[int]:
    """Which points of a curve have a marker: some six, evenly spread on its axis, the last among them."""
    values = places.to_numpy(float)
    if x == "minutes":
        values = np.log(np.maximum(values, 1e-9))
    wanted = np.linspace(values[-1], values[0], 7)[:-1] - rank * (values[-1] - values[0]) / 30
    return sorted({int(np.abs(values - one).argmin()) for one in wanted})


def _horizontal(panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    """The axes of epochs, from 0, and of time, from the first evaluation."""
    epochs, times = panels
    epochs.set_xlim(left=0)
    epochs.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))  # as usual, but whole
    minutes = rows["minutes"].dropna().astype(float) if "minutes" in rows else pd.Series(dtype=float)
    minutes = minutes[minutes > 0]
    if minutes.empty:
        return
    times.set_xscale("log")
    times.set_xlim(minutes.min() / 1.15, minutes.max() * 1.15)
    times.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    times.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    times.xaxis.set_minor_formatter(NullFormatter())


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """From a tenth below the lowest point (0.4 in the paper, where ours allow it) to a little above 1."""
    shown = rows["mean"].dropna()
    lowest = min(0.4, float(np.floor((shown.min() - 0.02) * 10) / 10)) if len(shown) else 0.0
    return max(-0.02, lowest), 1.02
