"""ABSGD's Figure 4: accuracy against the moving average's γ, and the weights of frequent and rare classes by epoch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reweigh.analysis.rows import (
    SIDES,
    Row,
    cell_names,
    frame,
    mean_row,
    of_cells,
    of_seeds,
    results,
    single_row,
    summary_row,
)
from reweigh.analysis.tables import Material, fingerprint, join_runs, majority_and_minority_weights
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import by_whom, count_text, missing_notes
from reweigh.plots.style import data_title, empty, finish, letter, look_of, sheet

DASHED = (0, (4, 2))
STYLES: dict[str, tuple[str, Any]] = dict(zip(SIDES, (("#0072B2", "-"), ("#D55E00", (0, (5, 1.2)))), strict=True))
SWEPT, PLAIN = look_of("absgd"), look_of("sgd")
PANELS = "abcdefgh"


class Cell(NamedTuple):
    experiment: str
    setting: str
    method: str


def rows(
    material: Material, sweeps: Sequence[str], weights: Sequence[str], metric: str = "test_accuracy"
) -> pd.DataFrame:
    """For each experiment of `sweeps` a panel: a line per γ (`x`; none for a method without one), one per γ and seed.

    For each cell of the experiments `weights` a panel: `majority_weight` and `minority_weight` by epoch, the mean
    weight of the examples of frequent and of rare classes, where 1 is the weight of every example in plain SGD.
    """
    watched = [
        Cell(experiment, setting, method)
        for experiment in weights
        for setting in material.settings(experiment)
        for method in material.methods(experiment, setting)
    ]
    letters = iter(PANELS)
    frames = [_sweep_rows(material, next(letters), experiment, metric) for experiment in sweeps]
    frames += [_weight_rows(material, next(letters), cell) for cell in watched]
    return pd.concat(frames, ignore_index=True)


def _sweep_rows(material: Material, panel: str, experiment: str, metric: str) -> pd.DataFrame:
    """Every method of an experiment at its last setting, each followed by its seeds."""
    setting, lines = material.settings(experiment)[-1], list[Row]()
    methods = material.config.paper(material.paper).methods
    for method in material.methods(experiment):
        runs = material.of(experiment, setting, method)
        names: Row = {"panel": panel, **cell_names(material, experiment, setting, method)}
        names["x"] = methods[method].options.get("gamma")
        summary = summary_row(runs, metric)
        note = "" if summary["runs"] else material.why_not(experiment, setting, method)
        lines.append({**names, "seed": None, **summary, "note": note})
        known = results(runs, metric).to_dict("records")
        lines += [{**names, "seed": run["seed"], **single_row(run, metric)} for run in known]
    return frame(lines)


def _weight_rows(material: Material, panel: str, cell: Cell) -> pd.DataFrame:
    """The mean weights of the two halves of the classes in each epoch: mean over seeds, and its interval."""
    base: Row = {"panel": panel, **cell_names(material, *cell)}
    frames = {
        run: majority_and_minority_weights(material.records[run], material.config.root)
        for run in material.of(*cell)["run"]
    }
    logged = {run: frame for run, frame in frames.items() if frame is not None and len(frame)}
    if not logged:
        note = "its runs logged no weights" if frames else material.why_not(*cell)
        absent: Row = {"n": 0, "status": "not run", "note": note, "runs": "", "records": ""}
        return pd.DataFrame([{**base, "metric": metric, **absent} for metric in SIDES])
    digests = [material.records[run]["digest"] for run in logged]
    base = {**base, "status": "run", "runs": join_runs(logged), "records": fingerprint(digests)}
    points = pd.concat(logged.values())
    return pd.DataFrame(
        [
            {"epoch": epoch, **mean_row(group[metric.removesuffix("_weight")]), **base, "metric": metric}
            for metric in SIDES
            for epoch, group in points.groupby("epoch")
        ]
    )


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Above, a panel for each sweep: a metric at each γ, and plain SGD, which has none; below, the weights by epoch."""
    by_panel = {str(panel): lines for panel, lines in rows.groupby("panel")}
    sweeps = {panel: lines for panel, lines in by_panel.items() if not lines["metric"].isin(SIDES).any()}
    watched = {panel: lines for panel, lines in by_panel.items() if panel not in sweeps}
    picture = sheet()
    above, below = picture.subplots(2, max(len(sweeps), len(watched)), squeeze=False)
    for axes, (panel, lines) in zip(above, sweeps.items(), strict=False):
        _sweep(axes, lines)
        letter(axes, panel, f"accuracy, {_place(material, lines)}")
    for axes, (panel, lines) in zip(below, watched.items(), strict=False):
        _weights(axes, lines)
        letter(axes, panel, f"weights, {_place(material, lines)}")
    swept = pd.concat(list(sweeps.values()))
    above[0].set_ylabel(swept["metric"].iloc[0].replace("_", " "))
    below[0].set_ylabel("mean weight × N")
    notes = [*_of_weights(rows), *_gaps(rows), *missing_notes(material, rows, gaps=False)]
    finish(picture, material, _shows(swept), notes, _legend(), panels=4.4)
    return Figure(picture, rows)


def _place(material: Material, rows: pd.DataFrame) -> str:
    experiment, label = rows[["experiment", "value"]].iloc[0]
    return f"{data_title(material.experiment(experiment).dataset)}, {label}"


# --- accuracy by γ ---------------------------------------------------------------------------------------------------


def _sweep(axes: Axes, rows: pd.DataFrame) -> None:
    """Every method at its γ, and as a band the method that has none."""
    cells, seeds = of_cells(rows), of_seeds(rows)
    for row in cells[cells["n"] > 0].itertuples():
        if pd.isna(row.x):
            _band(axes, row)
        else:
            _point(axes, row, seeds[seeds["method"] == row.method]["mean"].to_numpy(float))
    line = cells[cells["x"].notna()].sort_values("x")
    axes.plot(line["x"], line["mean"], color=SWEPT.colour, linewidth=0.9, alpha=0.7)
    axes.set_xlabel("γ of the moving average")
    if len(line):
        axes.set_xticks(line["x"])
        axes.set_xlim(line["x"].min() - 0.1, line["x"].max() + 0.1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, (low + high) / 2 - 0.01), max(high, (low + high) / 2 + 0.01))  # two points at least
    if rows["n"].eq(0).all():
        why = dict.fromkeys(f"{row.status}: {row.note}" if row.note else row.status for row in cells.itertuples())
        empty(axes, ", ".join(why))
        axes.set(xticks=[], yticks=[])


def _point(axes: Axes, row: Any, singles: np.ndarray) -> None:
    axes.plot(row.x, row.mean, SWEPT.marker, color=SWEPT.colour, zorder=4)
    if len(singles) > 1:
        axes.plot([row.x + 0.018] * len(singles), singles, ".", color=SWEPT.colour, markersize=2.5, alpha=0.6)
    if pd.notna(row.low):
        ends = [row.low, row.high]
        axes.plot([row.x] * 2, ends, color=SWEPT.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)


def _band(axes: Axes, row: Any) -> None:
    axes.axhline(row.mean, color=PLAIN.colour, linestyle=DASHED, linewidth=1.2, zorder=2)
    if pd.notna(row.low):
        axes.axhspan(row.low, row.high, color=PLAIN.colour, alpha=0.14, linewidth=0, zorder=1)


# --- weights by epoch ------------------------------------------------------------------------------------------------


def _weights(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_xlabel("epoch")
    if rows["n"].eq(0).all():
        empty(axes, f"not run: {rows['note'].iloc[0]}")
        axes.set(xticks=[], yticks=[])
        return
    for metric, (colour, line) in STYLES.items():
        mine = rows[rows["metric"] == metric]
        axes.plot(mine["epoch"], mine["mean"], color=colour, linestyle=line, linewidth=1.3, zorder=3)
        low, high = mine["low"].astype(float), mine["high"].astype(float)
        axes.fill_between(mine["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlim(rows["epoch"].min(), max(rows["epoch"].max(), 2))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)


# --- words -----------------------------------------------------------------------------------------------------------


def _shows(swept: pd.DataFrame) -> str:
    if not (swept["n"] > 0).any():
        return "Above: nothing of ours was run"
    several = "bars and band: 95 % interval (Student t), dots: single seeds"
    what = by_whom(swept, several) if (swept["n"] > 1).any() else "no interval"
    return f"Above: last epoch, mean over {count_text(of_cells(swept))}; {what}"


def _of_weights(rows: pd.DataFrame) -> list[str]:
    known = rows[(rows["metric"] == SIDES[0]) & (rows["n"] > 0)]
    band = ", band: 95 % interval" if (known["n"] > 1).any() else ""
    text = (
        f"Below: p̃ as training used it, times N (1 is plain SGD), mean over {count_text(known)}{band}; "
        "majority: the first half of the classes"
    )
    return [text] if len(known) else []


def _gaps(rows: pd.DataFrame) -> list[str]:
    """What is missing in panels that have something, and why; an empty panel says itself that it is."""
    gaps = []
    for panel, cells in of_cells(rows).groupby("panel"):
        absent = cells[cells["status"] == "not run"]
        if 0 < len(absent) < len(cells):
            names = [row.title if pd.isna(row.x) else f"γ = {row.x:g}" for row in absent.itertuples()]
            gaps.append(f"{', '.join(names)} in {panel} ({', '.join(dict.fromkeys(absent['note']))})")
    return [f"Not run: {'; '.join(gaps)}"] if gaps else []


def _legend() -> list[tuple[Any, str]]:
    point = Line2D([], [], color=SWEPT.colour, marker=SWEPT.marker, linewidth=0.9)
    plain = Line2D([], [], color=PLAIN.colour, linestyle=DASHED, linewidth=1.2)
    sides = [
        (Line2D([], [], color=colour, linestyle=line, linewidth=1.3), f"{metric.removesuffix('_weight')} classes")
        for metric, (colour, line) in STYLES.items()
    ]
    return [(point, "ABSGD (CE)"), (plain, "SGD (CE)"), *sides]
