"""ABSGD's Figure 4: accuracy against the moving average's γ, and the weights of frequent and rare classes by epoch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reweigh import stats
from reweigh.analysis.tables import (
    Material,
    cell_names,
    fingerprint,
    majority_and_minority_weights,
    pack,
    single_row,
    summary_row,
)
from reweigh.plots.style import (
    Drawing,
    count_text,
    data_title,
    empty,
    finish,
    letter,
    look_of,
    missing_notes,
    sheet,
    styled,
)

DASHED = (0, (4, 2))
SIDES: dict[str, tuple[str, Any]] = {"majority": ("#0072B2", "-"), "minority": ("#D55E00", (0, (5, 1.2)))}
SWEPT, PLAIN = look_of("absgd"), look_of("sgd")


class Cell(NamedTuple):
    experiment: str
    setting: str
    method: str


@styled
def averaging_and_weights(
    material: Material, sweeps: Sequence[str], weights: Sequence[str], metric: str = "test_accuracy"
) -> Drawing:
    """Above, a panel for each experiment of `sweeps`: `metric` at each γ, and plain SGD, which has none.

    Below, a panel for each setting of the experiments `weights`: the mean weight of the examples of frequent and of
    rare classes in each epoch. csv: one line per γ, one per seed and γ; `majority_weight`, `minority_weight` by epoch.
    """
    watched = [
        Cell(experiment, setting, method)
        for experiment in weights
        for setting in material.settings(experiment)
        for method in material.methods(experiment, setting)
    ]
    figure = sheet()
    above, below = figure.subplots(2, max(len(sweeps), len(watched)), squeeze=False)
    letters, frames = iter("abcdefgh"), []
    for axes, experiment in zip(above, sweeps, strict=False):
        panel = next(letters)
        frames.append(_sweep(axes, material, panel, experiment, metric))
        letter(axes, panel, f"accuracy, {_place(material, experiment, material.settings(experiment)[-1])}")
    swept = pd.concat(frames, ignore_index=True)
    for axes, cell in zip(below, watched, strict=False):
        panel = next(letters)
        frames.append(_weights(axes, material, panel, cell))
        letter(axes, panel, f"weights, {_place(material, *cell[:2])}")
    above[0].set_ylabel(metric.replace("_", " "))
    below[0].set_ylabel("mean weight × N")
    data = pd.concat(frames, ignore_index=True)
    notes = [*_of_weights(data), *_gaps(data), *missing_notes(material, data, gaps=False)]
    finish(figure, material, _shows(swept), notes, _legend(), panels=4.4)
    return Drawing(figure, data)


def _place(material: Material, experiment: str, setting: str) -> str:
    return f"{data_title(material.experiment(experiment).dataset)}, {material.label(experiment, setting)}"


# --- accuracy by γ ---------------------------------------------------------------------------------------------------


def _sweep(axes: Axes, material: Material, panel: str, experiment: str, metric: str) -> pd.DataFrame:
    """Every method at its γ, and as a band the method that has none; at the experiment's last setting."""
    setting, rows = material.settings(experiment)[-1], []
    methods = material.config.paper(material.paper).methods
    for method in material.methods(experiment):
        cell, gamma = Cell(experiment, setting, method), methods[method].options.get("gamma")
        summary = summary_row(material.of(*cell), metric)
        note = "" if summary["n"] else material.why_not(*cell)
        row = {"panel": panel, **cell_names(material, *cell), "x": gamma, "seed": None, **summary, "note": note}
        singles = _singles(material, row, metric)
        rows += [row, *singles]
        if row["n"]:
            _band(axes, row) if gamma is None else _point(axes, row, [one["mean"] for one in singles])
    data = pd.DataFrame(rows).astype(dict.fromkeys(("x", "mean", "sd", "low", "high"), float))
    line = data[data["x"].notna() & data["seed"].isna()].sort_values("x")
    axes.plot(line["x"], line["mean"], color=SWEPT.colour, linewidth=0.9, alpha=0.7)
    axes.set_xlabel("γ of the moving average")
    if len(line):
        axes.set_xticks(line["x"])
        axes.set_xlim(line["x"].min() - 0.1, line["x"].max() + 0.1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, (low + high) / 2 - 0.01), max(high, (low + high) / 2 + 0.01))  # two points at least
    if data["n"].eq(0).all():
        empty(axes, f"not run: {', '.join(dict.fromkeys(data['note']))}")
        axes.set(xticks=[], yticks=[])
    return data


def _singles(material: Material, row: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    runs = material.of(row["experiment"], row["setting"], row["method"])
    kept = {key: row[key] for key in ("panel", "experiment", "setting", "value", "method", "title", "x")}
    known = runs[runs[metric].notna()].to_dict("records")
    return [{**kept, "seed": run["seed"], **single_row(run, metric)} for run in known]


def _point(axes: Axes, row: dict[str, Any], singles: list[float]) -> None:
    axes.plot(row["x"], row["mean"], SWEPT.marker, color=SWEPT.colour, zorder=4)
    axes.plot([row["x"] + 0.018] * len(singles), singles, ".", color=SWEPT.colour, markersize=2.5, alpha=0.6)
    if row["low"] is not None:
        ends = [row["low"], row["high"]]
        axes.plot([row["x"]] * 2, ends, color=SWEPT.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)


def _band(axes: Axes, row: dict[str, Any]) -> None:
    axes.axhline(row["mean"], color=PLAIN.colour, linestyle=DASHED, linewidth=1.2, zorder=2)
    if row["low"] is not None:
        axes.axhspan(row["low"], row["high"], color=PLAIN.colour, alpha=0.14, linewidth=0, zorder=1)


# --- weights by epoch ------------------------------------------------------------------------------------------------


def _weights(axes: Axes, material: Material, panel: str, cell: Cell) -> pd.DataFrame:
    """The mean weights of the two halves of the classes in each epoch: mean over seeds, and its interval."""
    base = {"panel": panel, **cell_names(material, *cell)}
    frames = {
        run: majority_and_minority_weights(material.records[run], material.config.root)
        for run in material.of(*cell)["run"]
    }
    known = {run: frame for run, frame in frames.items() if frame is not None and len(frame)}
    axes.set_xlabel("epoch")
    if not known:
        note = "its runs logged no weights" if frames else material.why_not(*cell)
        empty(axes, f"not run: {note}")
        axes.set(xticks=[], yticks=[])
        absent = {"n": 0, "status": "not run", "note": note, "runs": "", "records": ""}
        return pd.DataFrame([{**base, "metric": f"{side}_weight", **absent} for side in SIDES])
    digests = [material.records[run]["digest"] for run in known]
    base |= {"status": "run", "runs": pack(known), "records": fingerprint(digests)}
    points, rows = pd.concat(known.values()), []
    for side, (colour, line) in SIDES.items():
        mine = pd.DataFrame([{"epoch": epoch, **_summary(group[side])} for epoch, group in points.groupby("epoch")])
        low, high = mine["low"].astype(float), mine["high"].astype(float)
        axes.plot(mine["epoch"], mine["mean"], color=colour, linestyle=line, linewidth=1.3, zorder=3)
        axes.fill_between(mine["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
        rows.append(mine.assign(**base, metric=f"{side}_weight"))
    axes.set_xlim(points["epoch"].min(), max(points["epoch"].max(), 2))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    return pd.concat(rows, ignore_index=True)


def _summary(values: pd.Series) -> dict[str, Any]:
    ours = stats.summarise(values.dropna().tolist())
    return {"mean": ours.mean, "sd": ours.sd, "n": ours.n, "low": ours.low, "high": ours.high}


# --- words -----------------------------------------------------------------------------------------------------------


def _shows(swept: pd.DataFrame) -> str:
    several = "bars and band: 95 % interval (Student t), dots: single seeds"
    what = several if (swept["n"] > 1).any() else "no interval"
    return f"Above: last epoch, mean over {count_text(swept[swept['seed'].isna()])}; {what}"


def _of_weights(data: pd.DataFrame) -> list[str]:
    known = data[(data["metric"] == "majority_weight") & (data["n"] > 0)]
    band = ", band: 95 % interval" if (known["n"] > 1).any() else ""
    text = (
        f"Below: p̃ as training used it, times N (1 is plain SGD), mean over {count_text(known)}{band}; "
        "majority: the first half of the classes"
    )
    return [text] if len(known) else []


def _gaps(data: pd.DataFrame) -> list[str]:
    """What is missing in panels that have something, and why; an empty panel says itself that it is."""
    gaps = []
    for panel, rows in data[data["seed"].isna()].groupby("panel"):
        absent = rows[rows["n"] == 0]
        if 0 < len(absent) < len(rows):
            names = [row.title if pd.isna(row.x) else f"γ = {row.x:g}" for row in absent.itertuples()]
            gaps.append(f"{', '.join(names)} in {panel} ({', '.join(dict.fromkeys(absent['note']))})")
    return [f"Not run: {'; '.join(gaps)}"] if gaps else []


def _legend() -> list[tuple[Any, str]]:
    point = Line2D([], [], color=SWEPT.colour, marker=SWEPT.marker, linewidth=0.9)
    plain = Line2D([], [], color=PLAIN.colour, linestyle=DASHED, linewidth=1.2)
    sides = [
        (Line2D([], [], color=colour, linestyle=line, linewidth=1.3), f"{side} classes")
        for side, (colour, line) in SIDES.items()
    ]
    return [(point, "ABSGD (CE)"), (plain, "SGD (CE)"), *sides]
