"""A table whose columns are several metrics: those of each method, then those of its control beside them.

The control of a method has its name with `_threshold` at the end: the same with a class offset chosen afterwards.
"""

import textwrap
from collections.abc import Sequence

import pandas as pd

from reweigh.analysis.tables import Material
from reweigh.plots import tables
from reweigh.plots.figure import Figure, styled
from reweigh.plots.left_out import absent_notes
from reweigh.plots.tables import Grid, as_figure, by_place, method_title

CONTROL = "_threshold"
OFFSET = "with offset"
GAP = "no such cell: no offset was chosen for this row, or not at this setting"


def rows(material: Material, metrics: Sequence[str]) -> pd.DataFrame:
    """The lines of `tables` for each of `metrics`.

    Optional methods without a record are left out, and settings without any where another has some.
    """
    frames = [tables.rows(material, metric) for metric in metrics]
    lines = pd.concat(frames, ignore_index=True)
    lines["compared"] &= lines["listed"]  # the paper has one setting of ours
    needed = {method for reads in material.artifact.reads for method in reads.methods}
    run = (lines["n"] > 0) | (lines["status"] != "not run")
    shown = lines["setting"].isin(lines[run]["setting"]) if run.any() else True
    return lines[run | (lines["method"].isin(needed) & shown)].reset_index(drop=True)


@styled
def draw(material: Material, rows: pd.DataFrame, metrics: Sequence[str], heads: Sequence[str]) -> Figure:
    """Lines: settings and their methods; columns: the metrics under `heads`, then those with an offset."""
    known = material.config.paper(material.paper).methods
    lines = rows.to_dict("records")
    sides: list[tuple[str, str]] = []
    for line in lines:
        if (side := (line["setting"], _base(line["method"], known))) not in sides:
            sides.append(side)
    settings = material.settings(material.experiments[0])
    sides.sort(key=lambda side: settings.index(side[0]))  # stable: methods stay in the order of the paper's table
    columns = [(metric, control) for control in (False, True) for metric in metrics]
    cells = by_place(
        lines,
        sides,
        columns,
        lambda line: (
            (line["setting"], _base(line["method"], known)),
            (line["metric"], _base(line["method"], known) != line["method"]),
        ),
    )
    labels = {setting: textwrap.fill(material.label(material.experiments[0], setting), 15) for setting in settings}
    grid = Grid(
        left=[(0.0, "setting"), (0.13, "method")],
        sides=[(labels[setting], method_title(material, method)) for setting, method in sides],
        columns=[*heads, *(f"{head}\n{OFFSET}" for head in heads)],
        cells=cells,
    )
    notes = [f"{OFFSET[0].upper()}{OFFSET[1:]}: a class offset is chosen on S_V afterwards, and added to the logits"]
    absent = [one for one in settings if one not in set(rows["setting"])]
    experiment = material.experiments[0]
    notes += absent_notes(
        material, [(material.label(experiment, one), material.is_outside(experiment, one)) for one in absent]
    )
    return as_figure(material, rows, grid, _write, notes, GAP)


def _write(mean: float, sd: float) -> str:
    """In percent; with an sd to a tenth, as six of them stand side by side."""
    return f"{100 * mean:.2f}" if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}"


def _base(method: str, known: object) -> str:
    """The method that a control belongs to; any other method itself."""
    base = method.removesuffix(CONTROL)
    return base if base in known else method  # type: ignore[operator]
