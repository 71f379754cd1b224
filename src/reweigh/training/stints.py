"""Who trained which part of a run that went on from what other runs had saved.

A stint is what one run trained until another went on: the run, when it started, and the step and seconds of training
from which it went on. The last stint is not over.
"""

import itertools
from collections.abc import Sequence
from typing import Any, TypedDict


class Stint(TypedDict):
    """`started` is the run's, UTC; `step` and `seconds` are those of the training at the beginning of the stint."""

    run: str
    started: str | None
    step: int
    seconds: float


def begun_by(stints: Sequence[Stint], run: str, step: int = 0, seconds: float = 0.0) -> list[dict[str, Any]]:
    """What other runs than `run` trained, for its record; what was before `step` and `seconds` does not count.

    >>> stints = [Stint(run="a", started=None, step=0, seconds=0.0), Stint(run="b", started=None, step=5, seconds=2.0)]
    >>> begun_by(stints, "b")
    [{'run': 'a', 'steps': 5, 'seconds': 2.0}]
    """
    parts: dict[str, dict[str, Any]] = {}
    for stint, after in itertools.pairwise(stints):
        steps, spent = after["step"] - max(stint["step"], step), after["seconds"] - max(stint["seconds"], seconds)
        if stint["run"] == run or max(steps, spent) <= 0:
            continue
        part = parts.setdefault(stint["run"], {"run": stint["run"], "steps": 0, "seconds": 0.0})
        part["steps"] += max(steps, 0)
        part["seconds"] += max(spent, 0.0)
    return list(parts.values())
