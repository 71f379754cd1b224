"""What reweighting costs over ERM (MOLERE, supplement E): printed ratios, those of the bench, and those of our runs.

Runs: seconds of training of all stages, evaluation left out, over those of the ERM of the same seed on the same device
with equally many runs beside it. The bench puts whole runs of the paper's schedule together, from steps that it timed
and whose FLOPs it counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reweigh.analysis.gains import MEASURED_TIMES, PRINTED_TIMES, TIMES
from reweigh.analysis.published import published
from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material, expand_runs
from reweigh.config.grid import Config
from reweigh.plots.costs import KINDS, PANELS, QUARTILES, bench_rows, frame, group_of, machine_notes, run_row, runs_text
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import INK, MUTED, data_title, empty, finish, letter, sheet

OF_NET = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#8C510A", "#56B4E9")  # Okabe and Ito's, and one more
PRINTED, RUN = "D", "o"  # markers
FORMS = {  # markers of a method's forms, by the bench
    "": "s",
    "head of φ, all features stored": "<",
    "head of φ, stored features": "^",
    "head of φ": "v",
    "shared virtual step": "X",
    "every step": "P",
}
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
            lines += [run_row(material, (experiment, setting, method), plain) for method in shown]
    columns = ["mean", "sd", "low", "high", "y", *QUARTILES]
    names = [*Row.__annotations__, *QUARTILES]
    return pd.DataFrame(lines).reindex(columns=names).astype(dict.fromkeys(columns, float))


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


@styled
def draw(material: Material, rows: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Run time (a) and FLOPs (b) over ERM's: a line a method that has a number; shapes: sources, colours: nets."""
    known = rows[rows["y"].notna() | (rows["n"] > 0)]
    known = known.assign(net=[_net(material, line) for line in known.to_dict("records")])
    shown = [method for method in methods if method in set(known["method"])]
    nets = [net for net in dict.fromkeys(known["net"]) if net]
    picture = sheet()
    drawn = picture.subplots(1, 2, width_ratios=(1.6, 1), sharey=True)
    for axes, (kind, name) in zip(drawn, PANELS.items(), strict=True):
        _panel(axes, known[known["panel"] == name], shown, kind, dict(zip(nets, OF_NET, strict=False)))
        letter(axes, name, f"{kind} over ERM's")
    drawn[0].set_yticks(range(len(shown)), [material.title(method) for method in shown])
    drawn[0].set_ylim(max(1, len(shown)) - 0.45, -0.55)
    absent = [method for method in methods if method not in shown]
    finish(picture, material, runs_text(rows), [*_notes(material, rows, absent), *_missing(material, rows)],
           [*_sources(known), *_nets(nets)], panels=0.75 + LINE * max(3, len(shown)))  # fmt: skip
    return Figure(picture, rows)


def _notes(material: Material, rows: pd.DataFrame, absent: Sequence[str]) -> list[str]:
    """What printed numbers and those of the bench are of, and which methods have none."""
    notes = ["Colours: net and batch size. Printed: means over the paper's data sets; dotted: as long as ERM"]
    bench = "whole runs of the paper's schedule, put together from steps that were timed, bars: quartiles, or counted"
    notes += machine_notes(material, rows, f"Bench: {bench}")
    return [*notes, f"Neither printed nor timed here: {', '.join(map(material.title, absent))}"] if absent else notes


def _net(material: Material, line: Mapping[Any, Any]) -> str:
    """The net and batch of a number, as the bench writes it; of a printed one, which is a mean over nets, nothing."""
    if line["metric"] == MEASURED_TIMES:
        return _group(line["note"])
    if line["metric"] == PRINTED_TIMES:
        return ""
    batch = material.records[expand_runs(line["runs"])[0]]["spec"]["training"]["batch_size"]
    return f"{material.experiment(line['experiment']).title.rpartition(', ')[2]}, B = {batch}"


def _panel(axes: Axes, rows: pd.DataFrame, methods: Sequence[str], kind: str, look: Mapping[str, str]) -> None:
    """All numbers of one kind: of a method first the printed one, then those of the bench by net, then runs."""
    keys = [_key(line) for line in rows.to_dict("records")]
    order = {PRINTED_TIMES: 0, MEASURED_TIMES: 1, TIMES: 2}
    series = sorted(dict.fromkeys(keys), key=lambda key: order[key[0]])
    shifts = {key: 0.62 * (rank / max(1, len(series) - 1) - 0.5) for rank, key in enumerate(series)}
    for key, line in zip(keys, rows.to_dict("records"), strict=True):
        at, colour = methods.index(line["method"]) + shifts[key], look.get(line["net"], INK)
        measured = line["metric"] == MEASURED_TIMES
        ends = [line[end] for end in (QUARTILES if measured else ("low", "high"))]
        if not any(map(pd.isna, ends)):
            axes.plot(ends, [at, at], color=colour, linewidth=0.9 if measured else 1.4, zorder=2)
        axes.plot([line["mean"] if line["n"] else line["y"]], [at], zorder=3, **_marker(line, colour))
    if not axes.lines:
        empty(axes, "not run, neither printed nor measured")
    frame(axes, rows, len(methods), room=1.06)
    axes.set_xlabel(f"{kind}, multiple of ERM's")


def _key(line: Mapping[Any, Any]) -> tuple[str, str, str]:
    """What stands on one height in each method's row."""
    return line["metric"], line["net"], f"{line['experiment']}/{line['setting']}" if line["n"] else ""


def _group(note: str) -> str:
    """The net and batch of a line of the bench, from its note."""
    return group_of(note).removeprefix("whole run, ").removeprefix("FLOPs, ")


def _form(title: str) -> str:
    """Which form of a method a line of the bench is of; empty for the method as it is."""
    return next((form for form in FORMS if form and title.endswith(f", {form}")), "")


def _marker(line: Mapping[Any, Any], colour: str) -> dict[str, Any]:
    style: dict[str, Any] = {"color": colour, "linestyle": "none", "markersize": 4}
    if line["metric"] == PRINTED_TIMES:
        return {**style, "marker": PRINTED, "markerfacecolor": "white"}
    return {**style, "marker": RUN if line["n"] else FORMS[_form(line["title"])]}


def _sources(rows: pd.DataFrame) -> list[tuple[Any, str]]:
    """The legend of shapes: where a number is from, and of which form of a method; of what is drawn."""
    entries: dict[str, Any] = {}
    for line in rows.to_dict("records"):
        form = _form(line["title"])
        text = (
            "runs" if line["n"] else "printed" if line["metric"] == PRINTED_TIMES else f"bench{', ' * bool(form)}{form}"
        )
        entries.setdefault(text, Line2D([], [], **_marker(line, MUTED)))
    order = ["printed", "runs", "bench", *(f"bench, {form}" for form in FORMS)]
    return [(entries[text], text) for text in order if text in entries]


def _nets(nets: Sequence[str]) -> list[tuple[Any, str]]:
    """The legend of colours: the net and batch size of what is drawn."""
    return [(Patch(color=colour), net) for net, colour in zip(nets, OF_NET, strict=False)]


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
