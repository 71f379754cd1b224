"""Tables as figures, ours above the published number in every cell; and the panel of what could not be run."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reweigh.plots.style import INK, MUTED, Drawing, finish, missing_notes, seeds_text, sheet, styled
from reweigh.results import Material, cell_names, summary_row

ROW = 0.34  # inches


@styled
def table(material: Material, metric: str = "test_accuracy") -> Drawing:
    """Rows: experiments and their methods; columns: settings. Each cell: ours (mean ± sd), below it the paper's.

    csv: one line a cell, with interval, n, published number and, where nothing was run, the reason.
    """
    rows = _lines(material, metric)
    values = list(dict.fromkeys(row["value"] for row in rows))
    sides = list(dict.fromkeys((row["experiment"], row["method"]) for row in rows))
    figure = sheet(0.95 + ROW * (len(sides) + 1))
    axes = figure.subplots()
    _typeset(axes, material, rows, sides, values)
    data = pd.DataFrame(rows).astype(dict.fromkeys(("mean", "sd", "low", "high", "published", "published_sd"), float))
    shows = seeds_text(data, "± sample sd over seeds; grey: the paper's numbers. 95 % intervals are in the csv")
    finish(figure, material, shows, missing_notes(material, data, gaps=False))
    return Drawing(figure, data)


def _lines(material: Material, metric: str) -> list[dict[str, Any]]:
    """One line a cell, also for cells that only the paper has and cells that only we have."""
    rows = []
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
                    }
                )
    return rows


def _in_order(material: Material, methods: set[str]) -> list[str]:
    """The paper's own order, then methods that only we have."""
    paper = material.config.paper(material.paper)
    order = [*(paper.published.methods.values() if paper.published else []), *paper.methods]
    return sorted(methods, key=order.index)


def _listed(material: Material, experiment: str) -> list[str]:
    """The methods that the paper's table has for an experiment."""
    rows = material.published
    return [name for name in rows[rows["experiment"] == experiment]["method_name"] if name]


def _typeset(
    axes: Axes, material: Material, rows: list[dict[str, Any]], sides: list[tuple[str, str]], values: list[Any]
) -> None:
    cells = {(row["experiment"], row["method"], row["value"]): row for row in rows}
    height = len(sides) + 1
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    left, middle, first = 0.0, 0.245, 0.425
    columns = [first + (place + 0.5) * (1 - first) / len(values) for place in range(len(values))]
    axes.text(left, 0.55, "experiment", weight="bold", va="center")
    axes.text(middle, 0.55, "method", weight="bold", va="center")
    for x, value in zip(columns, values, strict=True):
        varies = material.experiment(sides[0][0]).varies
        head = f"ρ = {value}" if "ρ" in varies else f"{varies}: {value}"
        axes.text(x, 0.55, head, weight="bold", ha="center", va="center")
    axes.axhline(0, color=INK, linewidth=1)
    axes.axhline(1, color=INK, linewidth=0.6)
    axes.axhline(height, color=INK, linewidth=1)
    previous = ""
    for line, (experiment, method) in enumerate(sides, start=1):
        if experiment != previous:
            if previous:
                axes.axhline(line, color=MUTED, linewidth=0.4)
            title = textwrap.fill(material.experiment(experiment).title, 26)
            axes.text(left, line + 0.5, title, va="center", fontsize=7.5, linespacing=1.1)
        previous = experiment
        axes.text(middle, line + 0.5, material.title(method), va="center", fontsize=7.5)
        for x, value in zip(columns, values, strict=True):
            _cell(axes, x, line, cells.get((experiment, method, value)))


def _cell(axes: Axes, x: float, line: int, row: dict[str, Any] | None) -> None:
    if row is None:
        return
    ours = _number(row["mean"], row["sd"]) if row["n"] else "not run"
    style: dict[str, Any] = {} if row["n"] else {"color": MUTED, "style": "italic"}
    axes.text(x, line + 0.31, ours, ha="center", va="center", fontsize=7.5, **style)
    paper = _number(row["published"], row["published_sd"]) if row["published"] is not None else "not reported"
    if row["listed"] or row["published"] is not None:
        axes.text(x, line + 0.74, paper, ha="center", va="center", fontsize=6.5, color=MUTED)
    else:
        axes.text(x, line + 0.74, "not in the paper", ha="center", va="center", fontsize=6.5, color=MUTED)


def _number(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None or sd != sd else f"{mean:.4f} ± {sd:.3f}"


@styled
def not_run(material: Material) -> Drawing:
    """The panel of an artifact that cannot be run here: that it was not, why, and what the paper says.

    csv: one line a published number, with status `not run` and the reason.
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
    wrapped = textwrap.wrap(reason, 88)
    figure = sheet(1.5 + 0.15 * len(wrapped) + 0.17 * len(rows))
    axes = figure.subplots()
    axes.set_axis_off()
    lines = [("not run", INK, "bold"), *((line, INK, "normal") for line in wrapped)]
    lines += [("", INK, "normal"), ("What the paper reports:", MUTED, "normal")] if rows else []
    lines += [
        (
            f"{row['title']}, {row['metric'].replace('_', ' ')}: {_number(row['published'], row['published_sd'])}",
            MUTED,
            "normal",
        )
        for row in rows
    ]
    for place, (line, colour, weight) in enumerate(lines):
        y = 1 - (place + 0.8) / (len(lines) + 0.6)
        axes.text(0.5, y, line, ha="center", va="center", color=colour, weight=weight, transform=axes.transAxes)
    axes.add_patch(_border(axes))
    finish(figure, material, "Nothing of ours is drawn here, and nothing stands in for it")
    columns = ["experiment", "setting", "value", "method", "metric", "mean", "sd", "n", "low", "high", "published",
               "published_sd", "title", "status", "note", "runs", "records"]  # fmt: skip
    return Drawing(figure, pd.DataFrame(rows).reindex(columns=columns))


def _border(axes: Axes) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=MUTED, linewidth=0.8, linestyle=(0, (3, 2))
    )
