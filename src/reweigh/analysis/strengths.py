"""How strongly each class was regularised, and by what: strengths and held-out errors that a run logged, by class.

A method whose penalty has a strength for each class (HAR) logs `strengths` once, one value a class of the given label,
the largest 1; if these come from held-out errors, `class_errors` too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reweigh.analysis.rows import Row, summary_row
from reweigh.analysis.tables import Material, logged

STRENGTH, ERROR = "class_strength", "class_error"
ARRAYS = {STRENGTH: "strengths", ERROR: "class_errors"}  # each metric with the array of the trace
OF_CLASSES = tuple(ARRAYS)


def by_class(body: Mapping[str, Any], metric: str, root: str | Path = ".") -> np.ndarray | None:
    """What a finished run logged last of each class, float64 (K,); None if it logged no such thing."""
    if body["status"] != "finished" or body["trace"] is None:
        return None
    arrays = logged(dict(body), ARRAYS[metric], root=root)
    return arrays[0][-1].astype(float) if arrays and len(arrays[0]) else None


def class_rows(material: Material, cell: tuple[str, str, str], metric: str) -> list[Row]:
    """For each class the mean over the runs of a cell, `class` its number; nothing where no run logged it.

    Columns of `summary_row` and `class`.
    """
    runs = material.of(*cell)
    found = {run: by_class(material.records[run], metric, material.config.root) for run in runs["run"]}
    classes = max((len(values) for values in found.values() if values is not None), default=0)
    return [{"class": label, **summary_row(_of_class(runs, found, metric, label), metric)} for label in range(classes)]


def _of_class(runs: pd.DataFrame, found: Mapping[str, np.ndarray | None], metric: str, label: int) -> pd.DataFrame:
    values = [None if (of_run := found[run]) is None else float(of_run[label]) for run in runs["run"]]
    return runs.assign(**{metric: pd.Series(values, runs.index, dtype=float)})
