"""Who trained which part of a run that went on from what other runs had saved.

A stint is what one run trained until another went on: the run, when it started, and the step and seconds of training
from which it went on. The last stint is not over.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

TIME = "%Y-%m-%dT%H:%M:%SZ"  # in UTC; such texts sort as the times do


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


def in_time(started: str, ended: str, seconds: float) -> str:
    """When a run started that took so many seconds until `ended`: at the latest that long before.

    A clock that was set back meanwhile would else say that it ended first, or trained for longer than it was there.

    >>> in_time("2026-11-30T12:00:00Z", "2026-11-30T11:00:00Z", 90.0)
    '2026-11-30T10:58:30Z'
    """
    latest = datetime.strptime(ended, TIME) - timedelta(seconds=max(seconds, 0.0))
    return min(started, latest.strftime(TIME))
