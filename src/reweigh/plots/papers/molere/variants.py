"""MOLERE's Table 7: how much LRWOpt gains over each of its variants, ours above the paper's, in points."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from reweigh.analysis.gains import PRINTED_GAIN as GAIN
from reweigh.analysis.published import published
from reweigh.analysis.rows import Row, cell_names, paired_row
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.plots import tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import data_title
from reweigh.plots.tables import Grid, as_figure, by_place, method_title

METRIC = "test_accuracy"


def rows(material: Material, whole: str = "lrwopt") -> pd.DataFrame:
    """For each variant and data set `whole` minus the variant, by seed, then what the paper prints of it, in `y`."""
    printed = printed_rows(material.config, material.paper, material.name, whole)
    lines: list[Row] = []
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            for method in [name for name in material.methods(experiment) if name != whole]:
                cell = (experiment, setting, method)
                lines += [_ours(material, cell, whole), *(line for line in printed if _of(line) == cell)]
    numbers = ("mean", "sd", "low", "high", "y")
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, *numbers]))).astype(dict.fromkeys(numbers, float))


def _of(line: Row) -> tuple[str, str, str]:
    return line["experiment"], line["setting"], line["against"]


def _ours(material: Material, cell: tuple[str, str, str], whole: str) -> Row:
    experiment, setting, method = cell
    ours, others = material.of(experiment, setting, whole), material.of(*cell)
    row = paired_row(ours, others, METRIC)
    missing = [name for name, runs in ((whole, ours), (method, others)) if runs.empty]
    why = ", ".join(dict.fromkeys(material.why_not(experiment, setting, name) for name in missing))
    note = why if missing else "" if row["runs"] else "no seed in common"
    return {**cell_names(material, experiment, setting, whole), "against": method, **row, "note": note}


def printed_rows(config: Config, paper: str, table: str, whole: str = "lrwopt") -> list[Row]:
    """The gains of `whole` over another method that a table of the paper prints, as fractions in `y`."""
    numbers = published(config, paper)
    numbers = numbers[(numbers["table_or_figure"].str.lower() == table) & numbers["mean"].notna()]
    known, lines = config.paper(paper), list[Row]()
    for row in numbers[numbers["method_name"].notna()].to_dict("records"):
        entry = known.experiments[row["experiment"]].settings[row["setting_name"]]
        other = row.get("against") or row["method_name"]
        lines.append(
            {
                "experiment": row["experiment"],
                "setting": row["setting_name"],
                "value": entry.label or (entry.value if isinstance(entry.value, str) else f"{entry.value:g}"),
                "method": whole,
                "title": known.methods[whole].title,
                "against": other,
                "metric": GAIN,
                "y": float(row["mean"]),
                "n": 0,
                "status": "computed",
                "note": "printed",
                "runs": "",
                "records": "",
            }
        )
    return lines


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Lines: variants; columns: data sets, those that were not run with the paper's number alone."""
    lines = [_cell(line, rows) for line in rows[rows["metric"] != GAIN].to_dict("records")]
    shown = [line for line in lines if line["n"] or line["listed"] or _ready(material, line)]
    variants = tables.in_order(material, {line["against"] for line in shown})
    places = list(dict.fromkeys((line["experiment"], line["setting"]) for line in shown))
    cells = by_place(shown, variants, places, lambda line: (line["against"], (line["experiment"], line["setting"])))
    grid = Grid(
        left=[(0.0, "LRWOpt minus")],
        sides=[(method_title(material, method),) for method in variants],
        columns=[_head(material, *place) for place in places],
        cells=cells,
    )
    closed = [material.experiment(name) for name in material.experiments]
    notes = [f"{one.title}: not run. {(one.reason or '').replace('`', '')}" for one in closed if one.status != "ready"]
    notes.append("Above 0: LRWOpt is better. The paper does not say whether its gains are points or relative; points here")
    data = pd.DataFrame(shown).assign(method=lambda frame: frame["against"])
    picture = as_figure(material, data, grid, _write, notes)
    return Figure(picture.picture, rows)


def _ready(material: Material, line: Mapping[Hashable, Any]) -> bool:
    return material.experiment(line["experiment"]).status == "ready"


def _cell(line: Mapping[Hashable, Any], rows: pd.DataFrame) -> dict[Hashable, Any]:
    """A line of ours, with what the table must know of the paper's number."""
    same = (rows["experiment"] == line["experiment"]) & (rows["setting"] == line["setting"])
    stated = rows[same & (rows["against"] == line["against"]) & (rows["metric"] == GAIN)]
    known = not stated.empty
    printed = stated["y"].iloc[0] if known else None
    return {**line, "published": printed, "published_sd": None, "compared": known, "listed": known, "excluded": ""}


def _head(material: Material, experiment: str, setting: str) -> str:
    one = material.experiment(experiment)
    title = data_title(one.dataset) if one.status == "ready" else one.title
    where = f", {material.label(experiment, setting)}" if len(one.settings) > 1 else ""
    return f"{title}{where}{' (ours)' if one.extension else ''}"


def _write(mean: float, sd: float) -> str:
    """In points, with its sign."""
    text = f"{100 * mean:+.2f}" if pd.isna(sd) else f"{100 * mean:+.2f} ± {100 * sd:.2f}"
    return text.replace("-", "−")
