"""Features must be numbers: a NaN or an infinity among them would end as a run that "diverged", without its cause."""

from typing import Any

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.errors import DataError

SHOWN = 5  # rows that the message names


def check(raw: RawData, what: str) -> RawData:
    """`raw`, if all its features are finite. Images are uint8, or stay on disk, and are not looked at.

    Raises DataError, in one line that begins with `what`, and names part, column and rows, counted from 0.
    """
    for part, inputs in (("training", raw.train_inputs), ("test", raw.test_inputs)):
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            raise DataError(f"{what}: {_first_fault(inputs, part)}; mend these values, or leave out their rows")
    return raw


def _first_fault(inputs: np.ndarray, part: str) -> str:
    """Where the first column with a value that is no number has them. inputs (N, ...), of which some are not finite."""
    columns: Any = ~np.isfinite(inputs.reshape(len(inputs), -1))
    column = int(columns.any(0).argmax())
    rows = columns[:, column].nonzero()[0].tolist()
    values = sorted({str(float(value)) for value in inputs.reshape(len(inputs), -1)[rows, column]})
    named = ", ".join(map(str, rows[:SHOWN])) + (f", ... ({len(rows)} in all)" if len(rows) > SHOWN else "")
    others = int(columns.any(0).sum()) - 1
    more = f", and {others} more column{'s' if others > 1 else ''} too" if others else ""
    place = f"row{'s' if len(rows) > 1 else ''} {named}"
    return f"column {column} of the {part} part is {' or '.join(values)} in {place}{more}"
