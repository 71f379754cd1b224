"""Lines of a csv that are means over runs of what a search logged: by epoch, by class, or of the search as a whole."""

from collections.abc import Callable, Collection
from typing import Any

import pandas as pd

from reweigh.analysis.rows import Row, cell_names, mean_row
from reweigh.analysis.tables import Material, fingerprint, join_runs
from reweigh.plots.style import data_title

Cell = tuple[str, str, str]  # experiment, setting, method
OfRun = Callable[[dict[str, Any]], pd.DataFrame | None]  # of a record: a column value and the columns of the keys


def trace_rows(material: Material, cell: Cell, metric: str, of_run: OfRun, keys: list[str]) -> list[Row]:
    """A line for each value of the keys (columns of a csv): mean over the runs of a cell that have it, with interval.

    A cell of which no run has any has one line, `not run`, with the reason.
    """
    base: Row = {**cell_names(material, *cell), "metric": metric}
    frames = [
        frame.assign(run=run.run, digest=run.digest)
        for run in material.of(*cell).itertuples()
        if (frame := of_run(material.records[run.run])) is not None
    ]
    known = pd.concat(frames, ignore_index=True).dropna(subset="value") if frames else pd.DataFrame()
    if known.empty:
        none = why_none(material, cell)
        return [{**base, **mean_row(pd.Series(dtype=float)), "status": "not run", "note": none, "runs": ""}]
    lines: list[Row] = []
    for values, group in known.groupby(keys, sort=True) if keys else [((), known)]:
        named: Any = dict(zip(keys, values if isinstance(values, tuple) else (values,), strict=True))
        feeds: Row = {"status": "run", "runs": join_runs(group["run"]), "records": fingerprint(group["digest"])}
        lines.append({**base, **named, **mean_row(group["value"]), **feeds})
    return lines


def why_none(material: Material, cell: Cell) -> str:
    """Why the runs of a cell give no line: there are none, all diverged, or none logged what it takes."""
    runs = material.of(*cell)
    if runs.empty:
        return material.why_not(*cell)
    return "diverged" if (runs["status"] == "diverged").all() else "not logged"


def in_words(rows: pd.DataFrame) -> str:
    """What an empty panel of these lines says."""
    reasons = ", ".join(dict.fromkeys(rows["note"])) if len(rows) else ""
    return reasons if reasons == "diverged" else f"not run: {reasons}" if reasons else "not run"


def single(value: float | None) -> pd.DataFrame | None:
    """One value of a run as a frame, for `trace_rows` without keys."""
    return None if value is None else pd.DataFrame({"value": [value]})


def diverged(material: Material, cells: Collection[Cell]) -> list[str]:
    """How many runs of some cells diverged, in words."""
    said = []
    for cell in sorted(cells):
        runs = material.of(*cell)
        if lost := int((runs["status"] == "diverged").sum()):
            title = data_title(material.experiment(cell[0]).dataset)
            said.append(
                f"{title} {material.label(cell[0], cell[1])}, {material.title(cell[2])} ({lost} of {len(runs)})"
            )
    return [f"Searches or retrainings that diverged: {'; '.join(said)}"] if said else []
