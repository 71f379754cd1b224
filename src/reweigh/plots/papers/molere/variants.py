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
from reweigh.plots.panels import settings_of
from reweigh.plots.printed import texts
from reweigh.plots.tables import Grid, as_figure, by_place, method_title
from reweigh.plots.tables_in_blocks import GAP, notes_of, side_of

METRIC = "test_accuracy"


def rows(material: Material, whole: str = "lrwopt") -> pd.DataFrame:
    """For each variant and data set `whole` minus the variant, by seed, then what the paper prints of it, in `y`."""
    printed = printed_rows(material.config, material.paper, material.name, whole)
    lines: list[Row] = []
    for experiment in material.experiments:
        for setting in settings_of(material, experiment):
            for method in variants_of(material, experiment, whole):
                cell = (experiment, setting, method)
                lines += [_ours(material, cell, whole), *(line for line in printed if _of(line) == cell)]
    numbers = ("mean", "sd", "low", "high", "y")
    data = pd.DataFrame(lines)
    return data.reindex(columns=list(dict.fromkeys([*data, *numbers]))).astype(dict.fromkeys(numbers, float))


def variants_of(material: Material, experiment: str, whole: str) -> list[str]:
    """The variants that are held against `whole` on a data set; where only that was run, all that it may have."""
    shown = [name for name in material.methods(experiment) if name != whole]
    optional = [name for one in material.artifact.reads if one.experiment == experiment for name in one.optional]
    return shown or [name for name in optional if name != whole]


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
    whole, digits = str(rows["method"].iloc[0]), _digits(material)
    lines = [_stated(line, rows, digits) for line in rows[rows["metric"] != GAIN].to_dict("records")]
    run = {_place(line) for line in lines if line["n"] or line["status"] != "not run"}
    shown = [line for line in lines if _place(line) in run or line["listed"]]
    methods = material.config.paper(material.paper).methods
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
        f"{material.title(whole)} minus the variant: above 0 it is the better. The paper does not say whether its "
        "gains are points or relative",
        "; ".join(f"{methods[name].title}: {methods[name].about}" for name in variants),
        *notes_of(material, left_out),
    ]
    data = pd.DataFrame(cells).assign(method=lambda frame: frame["against"])
    figure = as_figure(material, data, grid, _write, notes, GAP, _nothing(material, whole), "all in points")
    return Figure(figure.picture, rows)


def _nothing(material: Material, whole: str) -> str:
    """What is said where there is no difference: nothing was run, or `whole` alone."""
    runs = material.runs
    if not (runs["method"] == whole).any():
        return "Nothing of ours was run"
    return f"No difference of ours: {material.title(whole)} was run, none of its variants"


def _digits(material: Material) -> dict[tuple[str, str, str], str]:
    """The gains of the paper's table with the digits that it prints, and their signs; by place and variant."""
    numbers = texts(material.config, material.paper)
    numbers = numbers[(numbers["table_or_figure"].str.lower() == material.name) & numbers["mean"].notna()]
    return {
        (row["experiment"], row["setting_name"], row["against"]): f"+{row['mean_text']}".replace("+-", "−")
        for row in numbers.to_dict("records")
    }


def _place(line: Mapping[Hashable, Any]) -> tuple[str, str]:
    return line["experiment"], line["setting"]


def _stated(
    line: Mapping[Hashable, Any], rows: pd.DataFrame, digits: Mapping[tuple[str, str, str], str]
) -> dict[Hashable, Any]:
    """A line of ours, with what the table must know of the paper's number."""
    same = (rows["experiment"] == line["experiment"]) & (rows["setting"] == line["setting"])
    printed = rows[same & (rows["against"] == line["against"]) & (rows["metric"] == GAIN)]["y"]
    known = len(printed) > 0
    stated: dict[Hashable, Any] = {"published": printed.iloc[0] if known else None, "published_sd": None}
    stated["paper"] = digits.get((line["experiment"], line["setting"], line["against"]), "")
    return {**line, **stated, "compared": known, "listed": known, "excluded": ""}


def _write(mean: float, sd: float) -> str:
    """In points, with its sign."""
    text = f"{100 * mean:+.2f}" if pd.isna(sd) else f"{100 * mean:+.2f} ± {100 * sd:.2f}"
    return text.replace("-", "−")
