"""Accuracy and training loss by epoch of LRWOpt and ERM (MOLERE, supplement C).

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
from reweigh.plots.papers.molere.common import colours, titled
from reweigh.plots.style import INK, MUTED, data_title, empty, finish, sheet

METRICS = ("test_accuracy", "train_accuracy", "train_loss")
DOTTED = (0, (1, 1.3))
UNMEASURED = "not measured"
ROW = 1.75  # inches: of a row of panels


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
        why = material.why_not(*place, method) if runs.empty else UNMEASURED
        empty_runs = runs.iloc[:0].assign(**{metric: pd.Series(dtype=float)})
        return [{**base, **summary_row(empty_runs, metric), "note": why}]
    points = pd.concat(singles, ignore_index=True)
    return [{**base, "epoch": int(epoch), **summary_row(of, metric)} for epoch, of in points.groupby("epoch")]


@styled
def draw(material: Material, rows: pd.DataFrame, methods: Sequence[str], optimised: str = "lrwopt") -> Figure:
    """A column a place that has runs: accuracy above, training loss below; the plain stretch is shaded."""
    by_panel = [mine for _, mine in rows.groupby("panel", sort=False)]
    shown = [mine for mine in by_panel if (mine["n"] > 0).any()] or by_panel[:1]
    picture = sheet(width=7.0 if len(shown) > 1 else 4.6)
    drawn = picture.subplots(2, len(shown), squeeze=False, sharex="col")
    measured = bool((rows[rows["metric"] == "train_accuracy"]["n"] > 0).any())
    for column, mine in enumerate(shown):
        plain = plain_epochs(material, mine, optimised)
        loss = mine["metric"] == "train_loss"
        _panel(drawn[0][column], mine[~loss], methods, plain)
        _panel(drawn[1][column], mine[loss], methods, plain)
        first = mine.iloc[0]
        title = f"{data_title(material.experiment(first['experiment']).dataset)}, {first['value']}"
        titled(drawn[0][column], LETTERS[column], title, 6.2 / len(shown))
        titled(drawn[1][column], LETTERS[len(shown) + column], "", 6.2 / len(shown))
        drawn[1][column].set_xlabel("epoch")
    drawn[0][0].set_ylabel("accuracy\n(full: test, dotted: training)" if measured else "test accuracy")
    drawn[1][0].set_ylabel("training loss")
    dotted = ". Dotted: accuracy on the training set" if measured else ""
    shows = f"{seeds_text(rows, 'bands: 95 % interval (Student t)')}{dotted}. Loss: of the epoch's images, unweighted"
    of_test = rows[rows["metric"] == "test_accuracy"]
    notes = [
        f"Shaded: {material.title(optimised)} still trains as ERM does, on a random split",
        *missing_notes(material, of_test),
    ]
    finish(picture, material, shows, notes, _legend(material, methods, measured), panels=0.4 + 2 * ROW)
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
        reasons = ", ".join(dict.fromkeys(note for note in rows["note"] if note != UNMEASURED))
        empty(axes, f"not run: {reasons}" if reasons else "not run")
        axes.set(xticks=[], yticks=[])
        return
    look, loss = colours(methods), known["metric"].iloc[0] == "train_loss"
    for (method, metric), mine in known.groupby(["method", "metric"], sort=False):
        colour, mine = look[str(method)], mine.sort_values("epoch")
        line = DOTTED if metric == "train_accuracy" else "-"
        dots: dict[str, Any] = {"marker": "o", "markersize": 2.6} if len(mine) < 6 else {}
        axes.plot(mine["epoch"], mine["mean"], color=colour, linestyle=line, linewidth=1.2, zorder=3, **dots)
        low, high = (mine[end].fillna(mine["mean"]).clip(lower=0) for end in ("low", "high"))
        axes.fill_between(mine["epoch"], low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
    if plain:
        axes.axvspan(0, plain, color=MUTED, alpha=0.1, linewidth=0, zorder=0)
    late = known[known["epoch"] > 0.05 * known["epoch"].max()]["mean"]
    axes.set_ylim(0, 1.08 * float(late.max())) if loss else axes.set_ylim(limits(late, 0.03)[0], 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, known["epoch"].max())


def _legend(material: Material, methods: Sequence[str], measured: bool) -> list[tuple[Any, str]]:
    lines = [(Line2D([], [], color=colour), material.title(method)) for method, colour in colours(methods).items()]
    dotted = [(Line2D([], [], color=INK, linestyle=DOTTED), "accuracy on the training set, as it is given")] * measured
    return [*lines, *dotted, (Patch(color=MUTED, alpha=0.15), "plain stretch of LRWOpt")]
