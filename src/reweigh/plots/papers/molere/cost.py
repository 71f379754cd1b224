"""What reweighting costs over ERM (MOLERE, supplement E): printed ratios, those of the bench, and those of our runs.

Runs: seconds of training of all stages, evaluation left out, over those of the ERM of the same seed on the same device
with equally many runs beside it. The bench puts whole runs of the paper's schedule together, from steps that it timed
and whose FLOPs it counted.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reweigh.analysis.gains import MEASURED_TIMES, PRINTED_TIMES, TIMES, times_row
from reweigh.analysis.published import published
from reweigh.analysis.rows import Row, cell_names
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import count_text
from reweigh.plots.style import INK, MUTED, data_title, empty, finish, letter, sheet

OF_BENCH = ("#0072B2", "#E69F00", "#CC79A7", "#8C510A", "#5E3C99")
OF_RUNS = ("#009E73", "#D55E00", "#B2182B", "#1B9E9E", "#222222")
FORMS = {  # of a method, by the bench
    "": "s",
    "head of φ, all features stored": "<",
    "head of φ, stored features": "^",
    "head of φ": "v",
    "shared virtual step": "X",
    "every step": "P",
}
KINDS = {"runtime_ratio": "run time", "flops_ratio": "FLOPs"}
PANELS = dict(zip(KINDS.values(), "ab", strict=True))
LINE = 0.34  # inches: of a method


def rows(material: Material, methods: Sequence[str], plain: str = "erm") -> pd.DataFrame:
    """For each method the printed ratios (`y`), those of the bench (`y`), and those of runs at each setting.

    Panel a is of run time, b of FLOPs; `note` says which the number is of, and where the bench has measured it.
    """
    options = material.artifact.options
    lines = [line for line in printed_rows(material.config, material.paper) if line["method"] in methods]
    lines += [line for line in bench_rows(material.config.root, options) if line["method"] in methods]
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            shown = [method for method in methods if method in material.methods(experiment)]
            lines += [_ours(material, (experiment, setting, method), plain) for method in shown]
    columns = ["mean", "sd", "low", "high", "y"]
    return pd.DataFrame(lines).reindex(columns=list(Row.__annotations__)).astype(dict.fromkeys(columns, float))


def _ours(material: Material, cell: tuple[str, str, str], plain: str) -> Row:
    sides = material.of(*cell), material.of(cell[0], cell[1], plain)
    together = sides[0].merge(sides[1], on=["seed", "device", "runs_at_once"], suffixes=("", "_plain"))
    row = times_row(together, material.records)
    missing = [name for name, runs in zip((cell[2], plain), sides, strict=True) if runs.empty]
    reasons = dict.fromkeys(material.why_not(cell[0], cell[1], name) for name in missing)
    why = ", ".join(reasons) if missing else "" if row["n"] else "no pair on one device that finished"
    return {"panel": "a", **cell_names(material, *cell), "against": plain, **row, "note": why}


def printed_rows(config: Config, paper: str) -> list[Row]:
    """The ratios to ERM that the paper prints, as means over its data sets: in `y`."""
    known = config.paper(paper)
    names = known.published.methods if known.published else {}
    numbers = published(config, paper)
    lines: list[Row] = []
    for row in numbers[numbers["metric"].isin(list(KINDS))].to_dict("records"):
        method = names.get(row["method"])
        if method is None or pd.isna(row["mean"]):
            continue
        kind = KINDS[row["metric"]]
        lines.append(
            {"panel": PANELS[kind], "experiment": "", "method": method, "title": known.methods[method].title,
             "metric": PRINTED_TIMES, "y": float(row["mean"]), "n": 0, "status": "computed",
             "note": f"{kind}, as printed"}
        )  # fmt: skip
    return lines


def bench_rows(root: Path, options: Mapping[str, Any]) -> list[Row]:
    """The ratios of the bench's lines whose contender and baseline are named in the options: in `y`."""
    path = root / options["measured"]
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        found = list(csv.DictReader(file))
    lines: list[Row] = []
    for line in found:
        method = options["contenders"].get(line["contender"])
        if method is None or not line["ratio"] or line["baseline"] not in options["baselines"]:
            continue
        kind = KINDS["flops_ratio" if "FLOP" in line["group"] else "runtime_ratio"]
        where = f"{kind}; {line['group']}; {line['device']}, {line['precision']}"
        lines.append(
            {"panel": PANELS[kind], "experiment": "", "method": method, "title": line["contender"],
             "metric": MEASURED_TIMES, "y": float(line["ratio"]), "n": 0, "status": "computed", "note": where}
        )  # fmt: skip
    return lines


@styled
def draw(material: Material, rows: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Run time (a) and FLOPs (b) over ERM's: a line a method, hollow what is printed, filled what is measured."""
    picture = sheet()
    drawn = picture.subplots(1, 2, width_ratios=(1.6, 1), sharey=True)
    legend: dict[str, Any] = {}
    for axes, (kind, name) in zip(drawn, PANELS.items(), strict=True):
        _panel(axes, material, rows[rows["panel"] == name], methods, kind, legend)
        letter(axes, name, f"{kind} over ERM's")
    drawn[0].set_yticks(range(len(methods)), [material.title(method) for method in methods])
    drawn[0].set_ylim(len(methods) - 0.45, -0.55)
    run = rows[(rows["metric"] == TIMES) & (rows["n"] > 0)]
    interval = ", bars: 95 % interval (Student t)" if (run["n"] > 1).any() else ", no interval"
    shows = (
        f"Runs: mean over {count_text(run)}{interval}; seconds of training of all stages, evaluation left out, over "
        "those of the ERM of the same seed on the same device"
        if len(run)
        else "Nothing of ours was run"
    )
    notes = ["Printed: means over the paper's data sets; dotted: as long as ERM"]
    devices = sorted(set(material.runs["device"]))
    notes += [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    machines = sorted({note.rpartition("; ")[2] for note in rows[rows["metric"] == MEASURED_TIMES]["note"]})
    what = "whole runs of the paper's schedule, put together from steps that were timed or counted"
    notes += [f"Bench: {what}; {' | '.join(machines)}"] if machines else ["Bench: not measured"]
    notes += _missing(material, rows)
    finish(picture, material, shows, notes, [(handle, text) for text, handle in legend.items()],
           panels=0.75 + LINE * len(methods))  # fmt: skip
    return Figure(picture, rows)


def _panel(
    axes: Axes, material: Material, rows: pd.DataFrame, methods: Sequence[str], kind: str, legend: dict[str, Any]
) -> None:
    """All numbers of one kind; what each marker stands for is put into `legend`."""
    runs = rows[(rows["metric"] == TIMES) & (rows["n"] > 0)]
    bench = rows[rows["metric"] == MEASURED_TIMES]
    places = list(dict.fromkeys(zip(runs["experiment"], runs["setting"], strict=True)))
    groups = list(dict.fromkeys(_group(note) for note in bench["note"]))
    series = len(places) + len(groups) + 1
    shifts = {key: 0.62 * (rank / max(1, series - 1) - 0.5) for rank, key in enumerate(["printed", *groups, *places])}
    for line in rows.to_dict("records"):
        place = methods.index(line["method"])
        if line["metric"] == PRINTED_TIMES:
            _point(axes, line["y"], place + shifts["printed"], "D", INK, legend, "printed", hollow=True)
        elif line["metric"] == MEASURED_TIMES:
            group, form = _group(line["note"]), _form(line["title"])
            colour = OF_BENCH[groups.index(group) % len(OF_BENCH)]
            _point(axes, line["y"], place + shifts[group], FORMS[form], colour, legend, f"bench: {group}")
            if form:
                style: dict[str, Any] = {"marker": FORMS[form], "color": MUTED, "linestyle": "none", "markersize": 4}
                legend.setdefault(f"bench: {form}", Line2D([], [], **style))
        elif line["n"]:
            where = (line["experiment"], line["setting"])
            colour, at = OF_RUNS[places.index(where) % len(OF_RUNS)], place + shifts[where]
            if pd.notna(line["low"]):
                axes.plot([line["low"], line["high"]], [at, at], color=colour, linewidth=1.4, zorder=2)
            data = data_title(material.experiment(line["experiment"]).dataset)
            _point(axes, line["mean"], at, "o", colour, legend, f"runs: {data}, {line['value']}")
    if not axes.lines:
        empty(axes, "neither printed nor measured")
    axes.axvline(1, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    ends = pd.concat([rows["y"], rows["mean"]]).dropna()
    axes.set_xlim(0, 1.12 * max(3.0, float(ends.max()) if len(ends) else 0.0))
    for place in range(len(methods) - 1):
        axes.axhline(place + 0.5, color="#e3e3e3", linewidth=0.6, zorder=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{kind}, multiple of ERM's")


def _group(note: str) -> str:
    """The net and batch of a line of the bench, from its note."""
    return note.split("; ")[1].removeprefix("whole run, ").removeprefix("FLOPs, ")


def _form(title: str) -> str:
    """Which form of a method a line of the bench is of; empty for the method as it is."""
    return next((form for form in FORMS if form and title.endswith(f", {form}")), "")


def _point(
    axes: Axes, x: float, y: float, marker: str, colour: str, legend: dict[str, Any], text: str, hollow: bool = False
) -> None:
    style: dict[str, Any] = {
        "marker": marker,
        "color": colour,
        "markerfacecolor": "white" if hollow else colour,
        "linestyle": "none",
        "markersize": 4,
    }
    axes.plot([x], [y], zorder=3, **style)
    legend.setdefault(text, Line2D([], [], **style))


def _missing(material: Material, rows: pd.DataFrame) -> list[str]:
    """Which runs there are none of, by reason and place; of a place without any, its name alone."""
    asked = rows[rows["metric"] == TIMES]
    reasons: dict[str, list[str]] = {}
    for (experiment, _), of in asked.groupby(["experiment", "setting"], sort=False):
        place = f"{data_title(material.experiment(str(experiment)).dataset)} {of['value'].iloc[0]}"
        for why, absent in of[of["n"] == 0].groupby("note", sort=False):
            titles = "" if len(absent) == len(of) else f": {', '.join(absent['title'])}"
            reasons.setdefault(str(why), []).append(f"{place}{titles}")
    return [f"Not run ({why}): {'; '.join(names)}" for why, names in reasons.items()]
