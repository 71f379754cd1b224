"""Tables as figures, ours above the published number in every cell; and the panel of what could not be run."""

import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reweigh.analysis.tables import Material, cell_names, summary_row
from reweigh.plots.style import (
    INK,
    MUTED,
    WIDTH,
    Drawing,
    data_title,
    finish,
    missing_notes,
    seeds_text,
    sheet,
    styled,
)

ROW = 0.34  # inches
DAGGER = "†"
FAINT = "#e3e3e3"
NUMBERS = ("mean", "sd", "low", "high", "published", "published_sd")
Line = dict[str, Any]
Write = Callable[[float, float | None], str]  # mean and sd as text


@styled
def table(material: Material, metric: str = "test_accuracy", percent: bool = False) -> Drawing:
    """Rows: experiments and their methods; columns: settings. Each cell: ours (mean ± sd), below it the paper's.

    `percent` writes the figure in percent, as a paper may; the csv holds fractions. csv: one line a cell, with
    interval, n, published number and, where nothing was run, the reason.
    """
    rows = _lines(material, metric)
    values = dict.fromkeys(row["value"] for row in rows)
    sides = list(dict.fromkeys((row["experiment"], row["method"]) for row in rows))
    heads = {row["value"]: _head(material, row["experiment"], row["setting"]) for row in reversed(rows)}
    grid = _Grid(
        left=[(0.0, "experiment"), (0.205, "method")],
        sides=[(_title(material, experiment), _method(material, method)) for experiment, method in sides],
        columns=[heads[value] for value in values],
        cells=_by_place(rows, sides, list(values), lambda row: ((row["experiment"], row["method"]), row["value"])),
    )
    return _drawing(material, rows, grid, _percent if percent else _fraction)


@styled
def by_data(material: Material, metric: str = "test_accuracy", percent: bool = False) -> Drawing:
    """Rows: methods; columns: data sets, those that can be run beside those that only the paper has.

    Cells, csv and `percent` as in `table`.
    """
    rows = _lines(material, metric)
    methods = _in_order(material, {row["method"] for row in rows})
    places = list(dict.fromkeys((row["experiment"], row["setting"]) for row in rows))
    grid = _Grid(
        left=[(0.0, "method")],
        sides=[(_method(material, method),) for method in methods],
        columns=[_data_head(material, *place) for place in places],
        cells=_by_place(rows, methods, places, lambda row: (row["method"], (row["experiment"], row["setting"]))),
    )
    experiments = [material.experiment(name) for name in material.experiments]
    closed = [one for one in experiments if one.status != "ready"]
    reasons = [f"{one.title}: not run. {(one.reason or '').replace('`', '')}" for one in closed]
    return _drawing(material, rows, grid, _percent if percent else _fraction, reasons)


class _Grid(NamedTuple):
    """A table to be set: columns of words (place from 0 to 1, head), a tuple of words a line, columns of cells."""

    left: list[tuple[float, str]]
    sides: list[tuple[str, ...]]
    columns: list[str]
    cells: dict[tuple[int, int], Line]  # by line and column, both from 0


def _by_place(
    rows: list[Line], lines: list[Any], columns: list[Any], key: Callable[[Line], tuple[Any, Any]]
) -> dict[tuple[int, int], Line]:
    keys = [key(row) for row in rows]
    return {(lines.index(a), columns.index(b)): row for (a, b), row in zip(keys, rows, strict=True)}


def _drawing(
    material: Material, rows: list[Line], grid: _Grid, write: Write, notes: list[str] | None = None
) -> Drawing:
    data = pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))
    shows = seeds_text(data, "± sample sd over seeds; grey: the paper's numbers. 95 % intervals are in the csv")
    if not data["compared"].all():
        shows += ". Without grey: not in the paper"
    notes = [*missing_notes(material, data, gaps=False), *(notes or []), *_excluded(material, rows, write)]
    figure = sheet()
    _typeset(figure.subplots(), grid, write)
    finish(figure, material, shows, notes, panels=0.1 + ROW * (len(grid.sides) + 1))
    return Drawing(figure, data)


def _excluded(material: Material, rows: list[Line], write: Write) -> list[str]:
    """The published numbers that are not judged, and those of methods that are not here, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["excluded"]:
            said = f"{DAGGER} not judged ({row['excluded']})"
            reasons.setdefault(said, []).append(f"{row['title']}, {row['value']}")
    others = material.stated[material.stated["method_name"].isna() & material.stated["mean"].notna()]
    for row in others.to_dict("records"):
        number = write(row["mean"], row["std"])
        said = f"In the paper's table, not here ({row['excluded'] or 'no such method here'})"
        reasons.setdefault(said, []).append(f"{row['method']} {number}")
    return [f"{reason}: {'; '.join(dict.fromkeys(known))}" for reason, known in reasons.items()]


def _lines(material: Material, metric: str) -> list[dict[str, Any]]:
    """One line a cell, also for cells that only the paper has and cells that only we have."""
    known = material.published
    rows, compared = [], set(zip(known["experiment"], known["method_name"], strict=True))
    for experiment in material.experiments:
        settings = material.settings(experiment)
        methods = _in_order(material, {*material.methods(experiment), *_listed(material, experiment)})
        for method in methods:
            for setting in settings:
                published, published_sd = material.published_value(experiment, setting, method, metric)
                summary = summary_row(material.of(experiment, setting, method), metric)
                reason = "" if summary["n"] else material.why_not(experiment, setting, method)
                rows.append(
                    {
                        **cell_names(material, experiment, setting, method),
                        "published": published,
                        "published_sd": published_sd,
                        **summary,
                        "note": reason,
                        "listed": material.row_in_paper(experiment, setting, method, metric),
                        "excluded": material.excluded_because(experiment, setting, method, metric),
                        "compared": (experiment, method) in compared,
                    }
                )
    return rows


def _in_order(material: Material, methods: set[str]) -> list[str]:
    """The order in which the config maps the paper's methods, that of the paper's table, then the config's own."""
    paper = material.config.paper(material.paper)
    mapped = paper.published.methods.values() if paper.published else []
    order = [*mapped, *material.stated["method_name"].dropna(), *paper.methods]
    return sorted(methods, key=order.index)


def _listed(material: Material, experiment: str) -> list[str]:
    """The methods that the paper's table has for an experiment."""
    rows = material.stated
    return list(rows[rows["experiment"] == experiment]["method_name"].dropna())


def _title(material: Material, experiment: str) -> str:
    return textwrap.fill(material.experiment(experiment).title, 22)


def _method(material: Material, method: str) -> str:
    return textwrap.fill(material.title(method), 28)


def _head(material: Material, experiment: str, setting: str) -> str:
    """What stands above a setting's column: its label, or its value with what it is a value of."""
    one, value = material.experiment(experiment), material.label(experiment, setting)
    if one.settings[setting].label:
        return value
    return f"ρ = {value}" if "ρ" in one.varies else f"{one.varies}: {value}"


def _data_head(material: Material, experiment: str, setting: str) -> str:
    one, label = material.experiment(experiment), material.label(experiment, setting)
    if one.status == "ready":
        return f"{data_title(one.dataset)}, {label} \n(surrogate, run here)"
    return f"{one.title}, {label}" if len(one.settings) > 1 else one.title


def _typeset(axes: Axes, grid: _Grid, write: Write) -> None:
    height = len(grid.sides) + 1
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    first = grid.left[-1][0] + (0.225 if len(grid.left) > 1 else 0.24)
    columns = [first + (place + 0.5) * (1 - first) / len(grid.columns) for place in range(len(grid.columns))]
    for x, head in grid.left:
        axes.text(x, 0.55, head, weight="bold", va="center")
    characters = int((1 - first) / len(columns) * WIDTH * 72 / (7.5 * 0.68))
    for x, head in zip(columns, grid.columns, strict=True):
        text = "\n".join(textwrap.fill(part, characters) for part in head.splitlines())
        axes.text(x, 0.55, text, weight="bold", ha="center", va="center", fontsize=7.5, linespacing=1.15)
    for y, width in ((0, 1.0), (1, 0.6), (height, 1.0)):
        axes.axhline(y, color=INK, linewidth=width)
    previous = None
    for line, words in enumerate(grid.sides, start=1):
        block = words[0] if len(words) > 1 else None
        if line > 1:
            begins = previous != block
            axes.axhline(line, 0 if begins else grid.left[-1][0], color=MUTED if begins else FAINT, linewidth=0.4)
        shown = ("", *words[1:]) if block is not None and block == previous else words
        for place, ((x, _), word) in enumerate(zip(grid.left, shown, strict=True)):
            begins = place == 0 and block is not None  # the block's words may need more than this line
            down, align = (0.18, "top") if begins else (0.5, "center")
            axes.text(x, line + down, word, va=align, fontsize=7.5, linespacing=1.15)
        previous = block
        for column, x in enumerate(columns):
            _cell(axes, x, line, grid.cells.get((line - 1, column)), write)


def _cell(axes: Axes, x: float, line: int, row: Line | None, write: Write) -> None:
    if row is None:
        return
    ours = write(row["mean"], row["sd"]) if row["n"] else "not run"
    style: dict[str, Any] = {} if row["n"] else {"color": MUTED, "style": "italic"}
    axes.text(x, line + (0.33 if row["compared"] else 0.5), ours, ha="center", va="center", fontsize=7.5, **style)
    if not row["compared"]:  # the paper does not have this method here
        return
    paper = "not reported" if row["listed"] else "not in the paper"
    if row["published"] is not None:
        paper = write(row["published"], row["published_sd"]) + (f" {DAGGER}" if row["excluded"] else "")
    axes.text(x, line + 0.71, paper, ha="center", va="center", fontsize=6.5, color=MUTED)


def _fraction(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None or sd != sd else f"{mean:.4f} ± {sd:.3f}"


def _percent(mean: float, sd: float | None) -> str:
    return f"{100 * mean:.2f}" if sd is None or sd != sd else f"{100 * mean:.2f} ± {100 * sd:.2f}"


@styled
def not_run(material: Material, percent: bool = False) -> Drawing:
    """The panel of an artifact that cannot be run here: that it was not, why, and what the paper says.

    `percent` as in `table`. csv: one line a published number, with status `not run` and the reason.
    """
    reason = material.artifact.reason or "not run"
    known = material.published
    known = known[known["experiment"].isin(material.experiments)]
    rows = [
        {
            "experiment": row["experiment"],
            "setting": row["setting_name"],
            "value": material.label(row["experiment"], row["setting_name"]),
            "method": row["method_name"],
            "title": material.title(row["method_name"]),
            "metric": row["metric"],
            "n": 0,
            "published": row["mean"],
            "published_sd": row["std"],
            "status": "not run",
            "note": reason,
            "runs": "",
            "records": "",
        }
        for row in known.to_dict("records")
    ]
    wrapped, write = textwrap.wrap(reason, 88), _percent if percent else _fraction
    figure = sheet(1.5 + 0.15 * len(wrapped) + 0.17 * len(rows))
    axes = figure.subplots()
    axes.set_axis_off()
    lines = [("not run", INK, "bold"), *((line, INK, "normal") for line in wrapped)]
    lines += [("", INK, "normal"), ("What the paper reports:", MUTED, "normal")] if rows else []
    lines += [(_reported(material, row, write), MUTED, "normal") for row in rows]
    for place, (line, colour, weight) in enumerate(lines):
        y = 1 - (place + 0.8) / (len(lines) + 0.6)
        axes.text(0.5, y, line, ha="center", va="center", color=colour, weight=weight, transform=axes.transAxes)
    axes.add_patch(_border(axes))
    finish(figure, material, "Nothing of ours is drawn here, and nothing stands in for it")
    columns = ["experiment", "setting", "value", "method", "metric", "mean", "sd", "n", "low", "high", "published",
               "published_sd", "title", "status", "note", "runs", "records"]  # fmt: skip
    return Drawing(figure, pd.DataFrame(rows).reindex(columns=columns))


def _reported(material: Material, row: Line, write: Write) -> str:
    place = f", {row['value']}" if len(material.settings(row["experiment"])) > 1 else ""
    number = "no number" if pd.isna(row["published"]) else write(row["published"], row["published_sd"])
    return f"{row['title']}{place}, {row['metric'].replace('_', ' ')}: {number}"


def _border(axes: Axes) -> Any:
    return Rectangle(
        (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=MUTED, linewidth=0.8, linestyle=(0, (3, 2))
    )
