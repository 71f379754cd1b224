"""Accuracy by epoch of LRWOpt and ERM, on the test set and on the training set (MOLERE, supplement C).

The paper says that the two curves are alike in the early epochs and part later. The stretch in which LRWOpt trains
plainly, on a random split, is shaded.
"""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reweigh.analysis.rows import Row, cell_names, summary_row
from reweigh.analysis.tables import Material, curve, expand_runs
from reweigh.plots.axes import limits
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import missing_notes, seeds_text
from reweigh.plots.panels import LETTERS
from reweigh.plots.papers.molere.palette import colours
from reweigh.plots.style import INK, MUTED, data_title, empty, finish, letter, sheet

METRICS = {"test_accuracy": "test set", "train_accuracy": "training set, as it is given"}
LINES: dict[str, Any] = {"test_accuracy": "-", "train_accuracy": (0, (1, 1.3))}
ROW, ACROSS = 2.1, 3  # inches of a row of panels; panels in it


class Place(NamedTuple):
    """A panel."""

    experiment: str
    setting: str


def rows(material: Material, places: Sequence[Sequence[str]], methods: Sequence[str]) -> pd.DataFrame:
    """For each place (a panel), method and metric a line an evaluated epoch: mean over the runs, with interval.

    A method without runs, or whose runs did not measure the training set, has one line, `not run`, for the metric.
    """
    lines: list[Row] = []
    for panel, place in zip(LETTERS, starmap(Place, places), strict=False):
        for method in methods:
            for metric in METRICS:
                lines += [{"panel": panel, **line} for line in _of_method(material, place, method, metric)]
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, "epoch"])))


def _of_method(material: Material, place: Place, method: str, metric: str) -> list[Row]:
    runs = material.of(*place, method)
    base: Row = {**cell_names(material, *place, method), "metric": metric}
    singles = [
        curve(body, metric).assign(run=row.run, digest=row.digest, status=row.status)
        for row in runs.itertuples()
        if metric in (body := material.records[row.run])["curves"]
    ]
    if not singles:
        why = material.why_not(*place, method) if runs.empty else "not measured"
        empty_runs = runs.iloc[:0].assign(**{metric: pd.Series(dtype=float)})
        return [{**base, **summary_row(empty_runs, metric), "note": why}]
    points = pd.concat(singles, ignore_index=True)
    return [{**base, "epoch": int(epoch), **summary_row(of, metric)} for epoch, of in points.groupby("epoch")]


@styled
def draw(material: Material, rows: pd.DataFrame, methods: Sequence[str], optimised: str = "lrwopt") -> Figure:
    """A panel a place that has runs: in full on the test set, dotted on the training set; plain stretch shaded."""
    by_panel = [mine for _, mine in rows.groupby("panel", sort=False)]
    shown = [mine for mine in by_panel if (mine["n"] > 0).any()] or by_panel[:1]
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    picture = sheet(width=7.0 if across > 1 else 4.6)
    drawn = list(picture.subplots(down, across, squeeze=False).flat)
    for axes in drawn[len(shown) :]:
        axes.set_axis_off()
    for name, axes, mine in zip(LETTERS, drawn, shown, strict=False):
        _panel(axes, mine, methods, plain_epochs(material, mine, optimised))
        first = mine.iloc[0]
        letter(axes, name, f"{data_title(material.experiment(first['experiment']).dataset)}, {first['value']}")
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if axes in drawn[::across] else "")
    shows = f"{seeds_text(rows, 'bands: 95 % interval (Student t), cut at 0 and 1')}. Dotted: on the training set"
    of_test = rows[rows["metric"] == "test_accuracy"]
    notes = [
        f"Shaded: {material.title(optimised)} still trains as ERM does, on a random split",
        *_unmeasured(material, rows),
        *missing_notes(material, of_test),
    ]
    finish(picture, material, shows, notes, _legend(material, methods), panels=0.3 + ROW * down)
    return Figure(picture, rows)


def plain_epochs(material: Material, rows: pd.DataFrame, method: str) -> int:
    """How many epochs a method trains plainly: those of its stages but the last, by its first run; 0 without one."""
    named = [run for text in rows[(rows["method"] == method) & (rows["n"] > 0)]["runs"] for run in expand_runs(text)][
        :1
    ]
    stages = material.records[named[0]]["stages"] if named else []
    return sum(stage["epochs"] for stage in stages[:-1])


def _panel(axes: Axes, rows: pd.DataFrame, methods: Sequence[str], plain: int) -> None:
    known = rows[rows["n"] > 0].astype(dict.fromkeys(("epoch", "mean", "low", "high"), float))
    if known.empty:
        empty(axes, f"not run: {', '.join(dict.fromkeys(rows['note']))}")
        axes.set(xticks=[], yticks=[])
        return
    look = colours(methods)
    for (method, metric), mine in known.groupby(["method", "metric"], sort=False):
        colour, mine = look[str(method)], mine.sort_values("epoch")
        axes.plot(mine["epoch"], mine["mean"], color=colour, linestyle=LINES[str(metric)], linewidth=1.2, zorder=3)
        low, high = (mine[end].fillna(mine["mean"]).clip(0, 1) for end in ("low", "high"))
        axes.fill_between(mine["epoch"], low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
    if plain:
        axes.axvspan(0, plain, color=MUTED, alpha=0.1, linewidth=0, zorder=0)
    late = known[known["epoch"] > 0.05 * known["epoch"].max()]["mean"]
    axes.set_ylim(*limits(late, 0.03))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, known["epoch"].max())


def _unmeasured(material: Material, rows: pd.DataFrame) -> list[str]:
    absent = rows[(rows["n"] == 0) & (rows["note"] == "not measured")]
    names = dict.fromkeys(
        f"{data_title(material.experiment(row.experiment).dataset)} {row.value}, {row.title}"
        for row in absent.itertuples()
    )
    return [f"Training accuracy not measured: {'; '.join(names)}"] if names else []


def _legend(material: Material, methods: Sequence[str]) -> list[tuple[Any, str]]:
    lines = [(Line2D([], [], color=colour), material.title(method)) for method, colour in colours(methods).items()]
    kinds = [(Line2D([], [], color=INK, linestyle=LINES[metric]), name) for metric, name in METRICS.items()]
    return [*lines, *kinds, (Patch(color=MUTED, alpha=0.15), "plain stretch of LRWOpt")]
