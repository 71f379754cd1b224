"""Runs that decide nothing: those that diverged, that predict one class for every example, or that did not move.

Where all runs of a cell are such, the cell is degenerate. A comparison with it says that its method fails here, not
that the other one is good: it is never shown as decided. A single gain, method by method at one setting, is stricter:
one lost run on either side is enough (`lost_in_pairs`).
"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

DIVERGED, ONE_CLASS, UNMOVED = "diverged", "predict one class", "did not move"
BEST = "best_epoch_"  # of the names of metrics
EVALUATIONS = 3  # fewer may agree by chance
FALL = 0.01  # the share of its training loss that a run which learns anything loses at least


def lost(body: dict[str, Any]) -> str:
    """Why a run's result decides nothing (one of the three), by its record; empty if it may decide something.

    A method that takes no step, such as the constant prediction, is what it is meant to be.
    """
    if body["status"] != "finished":
        return DIVERGED
    if not body["steps"]:
        return ""
    predicted = np.asarray(body["metrics"]["confusion"]).sum(0)
    if int((predicted > 0).sum()) <= 1:
        return ONE_CLASS
    return UNMOVED if _unmoved(body["curves"]) else ""


def lost_at_best(body: dict[str, Any]) -> str:
    """Why the best epoch of a run decides nothing: as `lost`, but a run may have been better before it ended.

    One that predicts one class at its end counts if its best epoch beats the prediction of any one class.
    """
    if (why := lost(body)) != ONE_CLASS:
        return why
    sizes = np.asarray(body["metrics"]["confusion"]).sum(1)
    best = [value for name, value in body["metrics"].items() if name.startswith(BEST) and value is not None]
    return "" if best and best[0] > sizes.max() / sizes.sum() else ONE_CLASS


def _unmoved(curves: dict[str, list[Any]]) -> bool:
    """Whether no metric ever changed and the training loss did not fall.

    A net that has learned all there is by the first evaluation stands still too, but its training loss has fallen.
    """
    measured = {name: values for name, values in curves.items() if name.endswith(("_accuracy", "_recall"))}
    losses = [loss for loss in curves.get("train_loss", []) if loss is not None]
    if not measured or len(losses) < EVALUATIONS:
        return False
    return all(len(set(values)) == 1 for values in measured.values()) and losses[-1] > (1 - FALL) * losses[0]


def degenerate(cell: pd.DataFrame) -> str | None:
    """Why the runs of a cell (rows of `tables.table`, of one method) decide nothing; None if any of them may.

    >>> degenerate(pd.DataFrame({"method": ["er"] * 3, "lost": [ONE_CLASS, ONE_CLASS, DIVERGED]}))
    '2 of 3 runs of er predict one class, 1 diverged'
    >>> degenerate(pd.DataFrame({"method": ["er"] * 2, "lost": [ONE_CLASS, ""]}))
    """
    return counted(cell) if len(cell) and (cell["lost"] != "").all() else None


def lost_in_pairs(*sides: pd.DataFrame) -> str:
    """Why a paired gain decides nothing: which runs of its sides (cells, of the seeds that all have) are lost.

    One is enough. Without a run that diverged the gain would be that of the seeds on which the method happened to end,
    and one that predicts one class makes it large without saying anything of the method. Empty where no run is lost.

    >>> er, tdr = (pd.DataFrame({"method": [name] * 2, "lost": lost}) for name, lost in
    ...            (("er", ["", DIVERGED]), ("tdr", ["", ""])))
    >>> lost_in_pairs(tdr, er)
    '1 of 2 runs of er diverged'
    """
    return ", ".join(filter(None, map(counted, sides)))


def counted(cell: pd.DataFrame) -> str:
    """How many runs of a cell decide nothing, and why; empty if each may. See `degenerate`."""
    counts = Counter(why for why in cell["lost"] if why != "").items()
    of = f" of {len(cell)} runs of {cell['method'].iloc[0]}" if len(cell) else ""
    return ", ".join(f"{count}{'' if place else of} {why}" for place, (why, count) in enumerate(counts))
