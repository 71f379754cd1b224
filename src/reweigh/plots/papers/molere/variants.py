"""MOLERE's Table 7: how much LRWOpt gains over each of its variants, ours above the paper's, in points."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from reweigh.analysis.gains import PRINTED_GAIN as GAIN
from reweigh.analysis.published import published
from reweigh.analysis.rows import Row, cell_names, paired_row
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.plots.figure import Figure, styled
from reweigh.plots.tables import Grid, as_figure, by_place, method_title
from reweigh.plots.tables_in_blocks import notes_of, side_of

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
    """Lines: data sets, those that were not run with the paper's number alone; columns: the variants."""
    lines = [_stated(line, rows) for line in rows[rows["metric"] != GAIN].to_dict("records")]
    run = {_place(line) for line in lines if line["n"] or line["status"] != "not run"}
    shown = [line for line in lines if _place(line) in run or line["listed"]]
    places, variants = list(dict.fromkeys(map(_place, shown))), list(dict.fromkeys(line["against"] for line in shown))
    cells = [line if _place(line) in run else {**line, "words": ("\u00a0", "")} for line in shown]
    grid = Grid(
        left=[(0.0, "data set")],
        sides=[(side_of(material, cells, place),) for place in places],
        columns=[method_title(material, method) for method in variants],
        cells=by_place(cells, places, variants, lambda line: (_place(line), line["against"])),
    )
    left_out = list(dict.fromkeys(_place(line) for line in lines if _place(line) not in places))
    notes = [
        f"{material.title(str(rows['method'].iloc[0]))} minus the variant, in points: above 0 it is the better. The "
        "paper does not say whether its gains are points or relative",
        *notes_of(material, left_out),
    ]
    data = pd.DataFrame(cells).assign(method=lambda frame: frame["against"])
    return Figure(as_figure(material, data, grid, _write, notes).picture, rows)


def _place(line: Mapping[Hashable, Any]) -> tuple[str, str]:
    return line["experiment"], line["setting"]


def _stated(line: Mapping[Hashable, Any], rows: pd.DataFrame) -> dict[Hashable, Any]:
    """A line of ours, with what the table must know of the paper's number."""
    same = (rows["experiment"] == line["experiment"]) & (rows["setting"] == line["setting"])
    printed = rows[same & (rows["against"] == line["against"]) & (rows["metric"] == GAIN)]["y"]
    known = len(printed) > 0
    stated: dict[Hashable, Any] = {"published": printed.iloc[0] if known else None, "published_sd": None}
    return {**line, **stated, "compared": known, "listed": known, "excluded": ""}


def _write(mean: float, sd: float) -> str:
    """In points, with its sign."""
    text = f"{100 * mean:+.2f}" if pd.isna(sd) else f"{100 * mean:+.2f} ± {100 * sd:.2f}"
    return text.replace("-", "−")
