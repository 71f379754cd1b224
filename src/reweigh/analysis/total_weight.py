"""The total weight of a batch during training: 1 in plain training, 0 where a step rests and only weight decay acts.

Records have its mean over the steps of each epoch (`effective_weight`). Every epoch has as many steps as another.
"""

from typing import Any

import numpy as np

LATE = 0.2  # the share of the epochs, at the end, that `late` looks at


def mean_total_weight(body: dict[str, Any], late: bool = False) -> float | None:
    """The mean total weight of a run's batches over all epochs, or `late` ones; None if it logged none.

    >>> run = {"curves": {"effective_weight": [1.0, 1.0, 1.0, None, 0.5]}}
    >>> mean_total_weight(run), mean_total_weight(run, late=True)
    (0.875, 0.5)
    """
    curve = body["curves"]["effective_weight"]
    if late and curve:
        curve = curve[-max(1, round(LATE * len(curve))) :]
    known = [value for value in curve if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def resting_share(body: dict[str, Any], late: bool = True) -> float | None:
    """The share of steps of example reweighting in which no example has a weight.

    Its weights sum to 1 or are all 0 (`er` with scale sum), so that their mean total is the share of steps that move by
    the data; in the others weight decay alone moves the net. None for another method, whose total is not of that kind.
    """
    if body["spec"]["uses"] != "er" or body["spec"]["method_options"].get("scale") != "sum":
        return None
    moving = mean_total_weight(body, late)
    return None if moving is None else max(0.0, 1 - moving)  # means of float32 may exceed 1 by a rounding
