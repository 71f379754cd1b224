"""What AutoBalance costs: its search and its retraining in units of one plain training, and what a product takes.

The plain training is cross-entropy for as many epochs as the retraining, on the same examples, by the same kind of
device. Evaluation is left out. Products with the Hessian were timed by `reweigh bench hessian`, against a plain step.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reweigh import spreadsheets
from reweigh.analysis import searches
from reweigh.analysis.rows import Row, cell_names, mean_row
from reweigh.analysis.tables import Material, fingerprint, join_runs
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.papers.autobalance.traces import Cell, single, trace_rows, why_none
from reweigh.plots.style import INK, data_title, empty, finish, letter, sheet

SEARCH, TRAINING = searches.SECONDS
PRODUCT = "product_in_plain_steps"
SEARCH_COLOUR, RETRAIN_COLOUR, PLAIN_COLOUR = "#D55E00", "#0072B2", "#8a8a8a"
CLAIMED, LEAST = (4.0, 5.0), 2.0  # paper §2.1: 4 to 5 times, and at least twice
LINE = 0.3  # inches: of a bar


def rows(material: Material, plain: str, searched: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Seconds of search and retraining, of the plain training, and their ratio by seed; then products as measured.

    `searched` are (experiment, setting, method). `times_plain`: search and retraining over the plain training of the
    same seed and device, `search_times_plain`: the search alone; both `against` it.
    """
    lines: list[Row] = []
    for experiment, setting, method in searched:
        cell, other = (experiment, setting, method), (experiment, setting, plain)
        for metric, stage in searches.SECONDS.items():
            lines += trace_rows(material, cell, metric, partial(_seconds, stage=stage), [])
        lines += [_ratio(material, cell, plain, metric) for metric in searches.RATIOS]
        if not any(line["metric"] == TRAINING and _cell(line) == other for line in lines):
            lines += trace_rows(material, other, TRAINING, partial(_seconds, stage=-1), [])
    data = [{"panel": "a", **line} for line in lines]
    return pd.DataFrame([*data, *product_rows(material.config.root, material.artifact.options)])


def _seconds(body: Mapping[str, Any], stage: int) -> pd.DataFrame | None:
    return single(searches.seconds_of(body, stage))


def _cell(line: Row) -> Cell:
    return line["experiment"], line["setting"], line["method"]


def _ratio(material: Material, cell: Cell, plain: str, metric: str) -> Row:
    """The mean over seeds of what a run took, over the plain training of its seed on the same device."""
    pairs = material.of(*cell).merge(
        material.of(cell[0], cell[1], plain), on=["seed", "device"], suffixes=("", "_plain")
    )
    values = [
        searches.times(material.records[ours], material.records[theirs], metric)
        for ours, theirs in zip(pairs["run"], pairs["run_plain"], strict=True)
    ]
    pairs = pairs.assign(value=pd.Series(values, pairs.index, dtype=float)).dropna(subset="value")
    runs, digests = ([*pairs[name], *pairs[f"{name}_plain"]] for name in ("run", "digest"))
    note = "" if len(pairs) else why_none(material, cell).replace("not logged", "no pair on one device")
    return {
        **cell_names(material, *cell),
        "against": plain,
        "metric": metric,
        **mean_row(pairs["value"]),
        "status": "run" if len(pairs) else "not run",
        "note": note,
        "runs": join_runs(runs),
        "records": fingerprint(digests) if len(pairs) else "",
    }


def product_rows(root: Path, options: Mapping[str, Any]) -> list[Row]:
    """What a product with the Hessian takes in plain steps (`y`), by route and layout (`title`), by `reweigh bench`."""
    path = root / options["measured"]
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in spreadsheets.lines(csv.DictReader(file)) if line["group"] == options["group"]]
    return [
        {
            "panel": "b",
            "experiment": "",
            "title": line["contender"].removeprefix(options["products"]),
            "metric": PRODUCT,
            "y": float(line["ratio"]),
            "note": f"{line['group'].partition(', ')[2]}; {line['device']}, {line['precision']}",
            "status": "computed",
        }
        for line in lines
        if line["contender"].startswith(options["products"])
    ]


@styled
def draw(material: Material, rows: pd.DataFrame, searched: Sequence[Sequence[str]]) -> Figure:
    """Bars of search and retraining in plain trainings, the paper's range behind them (a); products by route (b)."""
    products = rows[rows["panel"] == "b"]
    picture = sheet()
    left, right = picture.subplots(1, 2, width_ratios=(1.35, 1))
    mine = rows[rows["panel"] == "a"]
    shown = _bars(left, material, mine, searched)
    _products(right, products)
    letter(left, "a", "search and retraining")
    letter(right, "b", "a Hessian product")
    known = mine[mine["metric"] == searches.RATIOS[0]]
    several = ", bars: 95 % interval (Student t) of the sum" if (known["n"] > 1).any() else ", no interval"
    what = f"a: mean over {count_text(known)}{several}, each run over the plain training of its seed on the same device"
    shows = f"{what}; evaluation is left out" if (known["n"] > 0).any() else "a: nothing of ours was run"
    devices = sorted(set(material.runs["device"]))
    notes = [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    notes += (
        [f"b: a product of one batch over a plain step in the same layout, {products['note'].iloc[0]}"]
        if len(products)
        else ["b: not measured"]
    )
    absent = known[known["n"] == 0]
    said = dict.fromkeys(f"{_label(material, row, ' ')} ({row['note']})" for row in absent.to_dict("records"))
    notes += [f"Not run: {'; '.join(said)}"] if said else []
    finish(picture, material, shows, notes, _legend(), panels=0.8 + LINE * max(5, shown, len(products)))
    return Figure(picture, rows)


def _label(material: Material, row: Mapping[Any, Any], between: str = "\n") -> str:
    return f"{data_title(material.experiment(row['experiment']).dataset)},{between}{material.title(row['method'])}"


def _bars(axes: Axes, material: Material, rows: pd.DataFrame, searched: Sequence[Sequence[str]]) -> int:
    """Draw the cells that have a ratio, one above the other; how many they are."""
    axes.axvspan(*CLAIMED, color="#f3e3b3", linewidth=0, zorder=0)
    axes.axvline(LEAST, color=INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    axes.axvline(1, color=PLAIN_COLOUR, linewidth=0.9, zorder=1)
    labels: list[str] = []
    for cell in searched:
        of = rows[(rows[["experiment", "setting", "method"]] == list(cell)).all(axis=1)].set_index("metric")
        whole, search = (of.loc[metric] for metric in searches.RATIOS)
        if not whole["n"]:
            continue
        place = len(labels)
        axes.barh(place, search["mean"], 0.6, color=SEARCH_COLOUR, zorder=2)
        axes.barh(place, whole["mean"] - search["mean"], 0.6, left=search["mean"], color=RETRAIN_COLOUR, zorder=2)
        if pd.notna(whole["low"]):
            axes.plot([whole["low"], whole["high"]], [place, place], color=INK, linewidth=1.0, zorder=3)
        plain = rows[
            (rows["experiment"] == cell[0]) & (rows["method"] == whole["against"]) & (rows["metric"] == TRAINING)
        ]
        seconds = [of.loc[SEARCH, "mean"], of.loc[TRAINING, "mean"], plain["mean"].iloc[0]]
        words = _label(material, {"experiment": cell[0], "method": cell[2]}, " ")
        labels.append(f"{words}\n{_time(seconds[0])} + {_time(seconds[1])} s over {_time(seconds[2])} s")
        text = f"{whole['mean']:.1f} ×"
        end = max(whole["mean"], 0 if pd.isna(whole["high"]) else whole["high"])
        style: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 6}
        axes.annotate(text, (end, place), color=INK, annotation_clip=False, **style)
    if not labels:
        empty(axes, "not run")
    axes.set_yticks(range(len(labels)), labels, fontsize=6.3)
    axes.set_ylim(max(1, len(labels)) - 0.4, -0.6)
    ends = rows[rows["metric"] == searches.RATIOS[0]][["mean", "high"]].max().max()
    axes.set_xlim(0, max(5.5, 1.2 * (0 if pd.isna(ends) else float(ends))))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("plain trainings")
    return len(labels)


def _time(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _products(axes: Axes, rows: pd.DataFrame) -> None:
    if rows.empty:
        empty(axes, "not measured")
        axes.set(xticks=[], yticks=[])
        return
    axes.barh(range(len(rows)), rows["y"], 0.6, color=PLAIN_COLOUR, zorder=2)
    for place, value in enumerate(rows["y"]):
        axes.annotate(
            f"{value:.1f}", (value, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5
        )
    axes.set_yticks(range(len(rows)), rows["title"], fontsize=6.3)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * float(rows["y"].max()))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("plain steps")


def _legend() -> list[tuple[Any, str]]:
    return [
        (Patch(color=SEARCH_COLOUR), "search"),
        (Patch(color=RETRAIN_COLOUR), "retraining"),
        (Line2D([], [], color=PLAIN_COLOUR, linewidth=0.9), "one plain training"),
        (Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (3, 2))), "paper: at least 2 ×"),
        (Patch(color="#f3e3b3"), "paper: 4 to 5 ×"),
    ]
