"""A table whose columns are data sets: those that can be run beside those that only the paper has."""

import textwrap

import pandas as pd

from reweigh.analysis.tables import Material
from reweigh.plots import tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.printed import head, with_digits
from reweigh.plots.style import data_title
from reweigh.plots.tables import METHOD, Grid, as_figure, by_place, in_order, writer


def rows(material: Material, metric: str = "test_accuracy") -> pd.DataFrame:
    """One line a cell, as in `tables`."""
    return tables.rows(material, metric)


@styled
def draw(material: Material, rows: pd.DataFrame, percent: bool = False, as_printed: bool = False) -> Figure:
    """Lines: methods; columns: data sets. Cells and `percent` as in `tables`.

    `as_printed`: methods have the paper's names, and its numbers the digits that it prints.
    """
    lines = rows.to_dict("records")
    run = set(rows[rows["n"] > 0]["method"])
    methods = in_order(material, set(rows["method"]))
    places = list(dict.fromkeys(zip(rows["experiment"], rows["setting"], strict=True)))
    titles = {method: material.title(method) for method in methods}
    if as_printed:
        lines = with_digits(material, lines)
        titles = {method: head(material, method, method in run) for method in methods}
    cells = by_place(lines, methods, places, lambda line: (line["method"], (line["experiment"], line["setting"])))
    grid = Grid(
        left=[(0.0, "method")],
        sides=[(textwrap.fill(titles[method], METHOD),) for method in methods],
        columns=[_head(material, *place) for place in places],
        cells=cells,
    )
    experiments = [material.experiment(name) for name in material.experiments]
    closed = [one for one in experiments if one.status != "ready"]
    reasons = []
    if any(one.extension and one.status == "ready" for one in experiments):
        reasons = ["Surrogate: a stand-in of ours, which decides a claim and never one of the paper's numbers"]
    reasons += [f"{one.title}: not run. {(one.reason or '').replace('`', '')}" for one in closed]
    for one in experiments:
        if named := [titles.get(name, material.title(name)) for name in one.placeholders]:
            reasons.append(f"{one.title}: {', '.join(named)} would not be as in the paper; the scorecard says why.")
    return as_figure(material, rows, grid, writer(percent), reasons)


def _head(material: Material, experiment: str, setting: str) -> str:
    one, label = material.experiment(experiment), material.label(experiment, setting)
    if one.status == "ready" and one.extension:
        here = ", run here" if (material.runs["experiment"] == experiment).any() else ""
        return f"{data_title(one.dataset)}, {label} \n(surrogate{here})"
    if one.status == "ready":
        return f"{data_title(one.dataset)}, {label}"
    return f"{one.title}, {label}" if len(one.settings) > 1 else one.title
