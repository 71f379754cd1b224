"""TDR's Table 3 with what it is about: accuracy and true positive rate of each group, and what its examples weighed."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reweigh.analysis.rows import (
    CLASS_WEIGHT,
    GROUP_ACCURACY,
    GROUP_RECALL,
    GROUPS,
    Row,
    cell_names,
    frame,
    summary_row,
)
from reweigh.analysis.tables import Material
from reweigh.group_rates import true_positive_rates
from reweigh.plots import ridges, tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.tables import NONE, Grid, as_figure, by_place, method_title

HEADS = {GROUP_ACCURACY: "accuracy,\n{}", GROUP_RECALL: "TPR,\n{}", CLASS_WEIGHT: "weight of\n{}"}
RATE = "TPR, true positive rate: the share of incomes above 50K that is found"
WEIGHT = "Weight: mean over all steps of all seeds, as a share of the sum over groups; below it, where 90 % of them lie"
GAP = "not in the records, or a method without weights of groups"


class Line(Row, total=False):
    """A line of `tables`, and the two lines of text that its cell has where it is no mean and sd."""

    listed: bool
    excluded: str
    compared: bool
    words: tuple[str, str]


def rows(material: Material, groups: Sequence[str]) -> pd.DataFrame:
    """For each method the line of `tables`, then for each of `groups` (by number, as the data set has them) three more.

    `per_group_accuracy`, `per_group_recall` (the true positive rate) and `class_weight` have the group's number as
    `class` and its name as `note`; the last only where weights of groups were logged, as in `ridges`.
    """
    overall = tables.rows(material)
    order = material.methods(overall["experiment"].iloc[0])
    lines: list[Line] = []
    for line in sorted(overall.to_dict("records"), key=lambda line: order.index(line["method"])):
        cell = (line["experiment"], line["setting"], line["method"])
        lines.append({**line})
        for number, name in enumerate(groups):
            lines += [_share(material, cell, metric, number, name) for metric in GROUPS]
        lines += _weights(material, cell)
    return frame(lines)


def _share(material: Material, cell: tuple[str, str, str], metric: str, group: int, name: str) -> Line:
    runs = material.of(*cell)
    values = [_of_group(material.records[run], metric, group) for run in runs["run"]]
    summary = summary_row(runs.assign(**{metric: pd.Series(values, runs.index, dtype=float)}), metric)
    line: Line = {**cell_names(material, *cell), "class": group, **summary, "note": name, **_UNLISTED}
    if not summary["n"] and len(runs):
        line["words"] = (NONE, "")
    return line


def _of_group(body: dict[str, Any], metric: str, group: int) -> float | None:
    """Accuracy or true positive rate of one group after a run; None for one that diverged or does not say."""
    metrics = body["metrics"]
    if body["status"] != "finished":
        return None
    shares = metrics.get(metric) if metric == GROUP_ACCURACY else true_positive_rates(metrics)
    return None if shares is None else float(shares[group])


def _weights(material: Material, cell: tuple[str, str, str]) -> list[Line]:
    lines: list[Line] = []
    for row in ridges.weight_rows(material, *cell):
        if row["metric"] != CLASS_WEIGHT or not row["n"] or row["seed"] is not None:
            continue
        words = (f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}")
        kept: Any = {key: value for key, value in row.items() if key not in ("first_edge", "last_edge", "examples")}
        lines.append({**kept, **_UNLISTED, "words": words})
    return lines


_UNLISTED: Any = {"listed": False, "excluded": "", "compared": False}


@styled
def draw(material: Material, rows: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Lines: methods; columns: accuracy of all with the paper's number below it, then what `rows` has of each group."""
    weighs = bool((rows["metric"] == CLASS_WEIGHT).any())
    columns: list[tuple[str, int | None]] = [("test_accuracy", None)]
    columns += [(metric, number) for metric in GROUPS for number in range(len(groups))]
    columns += [(CLASS_WEIGHT, 0)] if weighs else []
    heads = ["accuracy" if number is None else HEADS[metric].format(groups[number]) for metric, number in columns]
    methods = list(dict.fromkeys(rows["method"]))
    lines = [line for line in rows.to_dict("records") if (line["metric"], _number(line)) in columns]
    notes = [RATE, *([WEIGHT] if weighs else [])]
    cells = by_place(lines, methods, columns, lambda line: (line["method"], (line["metric"], _number(line))))
    sides: list[tuple[str, ...]] = [(method_title(material, method),) for method in methods]
    grid = Grid([(0.0, "method")], sides, heads, cells)
    overall = rows[rows["metric"] == "test_accuracy"]
    figure = as_figure(material, overall, grid, _write, notes, GAP, unit="")
    return Figure(figure.picture, rows)


def _number(line: Any) -> int | None:
    return None if pd.isna(line["class"]) else int(line["class"])


def _write(mean: float, sd: float) -> str:
    return f"{mean:.4f}" if pd.isna(sd) else f"{mean:.3f} ± {sd:.3f}"
