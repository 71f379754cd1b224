"""When a run first reached a level of some metric: in epochs, and in seconds of training."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reached:
    """`at`: the first evaluated epoch, or the seconds of training up to it, at which a run had reached a level.

    A run that never did has `ever` False, and `at` is a lower bound: all the training that it was given. `step` is the
    relative size of what one evaluation hides, since the level was reached at some time after the one before.
    """

    at: float
    ever: bool
    step: float = 0.0


def epochs(body: dict[str, Any], metric: str, level: float) -> Reached:
    """The first epoch after which the curve of `metric` stands at `level` or above.

    A value that is missing, as after a divergence, reaches nothing. The curve is of evaluated epochs only.
    """
    return _first(body, metric, level, [float(epoch) for epoch in body["curves"]["epoch"]])


def seconds(body: dict[str, Any], metric: str, level: float) -> Reached:
    """The same in seconds of training, evaluation left out."""
    return _first(body, metric, level, [float(second) for second in body["curves"]["train_seconds"]])


def _first(body: dict[str, Any], metric: str, level: float, clock: list[float]) -> Reached:
    for place, value in enumerate(body["curves"][metric]):
        if value is not None and not math.isnan(value) and value >= level:
            before = clock[place - 1] if place else 0.0
            return Reached(clock[place], True, (clock[place] - before) / clock[place])
    trained = body["curves"]["epoch"][-1:] or [1]
    given = max(trained[0], body["spec"]["training"]["epochs"])  # a run that diverged was given more than it took
    return Reached((clock[-1] if clock else 1.0) * given / trained[0], False)
