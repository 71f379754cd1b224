"""Seconds among the seeds of a cell: they do the same work, so a step of each takes about as long.

Claims of cost rest on seconds, which nothing else in a record bears out. Whoever divides those of one seed by ten is
found here; of all seeds of a cell, only by `--rerun`.
"""

import statistics
from collections.abc import Hashable, Iterator
from typing import Any

from reweigh.config.names import RunName

Body = dict[str, Any]
MOST_TIMES = 3  # over 3,500 records of MNIST, tables and features made on busy machines, the most is 1.43
FEWEST_OTHERS = 2  # of two that disagree none is the odd one
FEWEST_SECONDS = 1.0  # what takes less is decided by how it starts


def out_of_time(records: dict[str, Body]) -> dict[str, str]:
    """The runs whose seconds a step are far from those of most other seeds of their cell, each with both numbers.

    Only finished runs are compared, and those of one device and setting of it: on a GPU also of as many runs at once.
    """
    cells: dict[Hashable, dict[str, float]] = {}
    for run, body in records.items():
        if body["status"] == "finished" and body["steps"] and body["seconds"] >= 0:
            key = (RunName.parse(run).cell, *_machine(body))
            cells.setdefault(key, {})[run] = body["seconds"] / body["steps"]
    return {run: doubt for runs in cells.values() for run, doubt in _odd(runs, records)}


def _machine(body: Body) -> Iterator[Hashable]:
    device = body["device"]
    yield from (device["kind"], device["name"], device["threads"], body["steps"])
    if device["kind"] == "cuda":
        yield device["runs_at_once"]
        yield tuple((device.get("graph") or {}).get("captured", ()))


def _odd(runs: dict[str, float], records: dict[str, Body]) -> Iterator[tuple[str, str]]:
    """The runs that most of the others are far from: of three, not the two that a third one disagrees with."""
    for run, own in runs.items():
        others = [value for other, value in runs.items() if other != run]
        usual = statistics.median(others) if others else own
        if len(others) < FEWEST_OTHERS or max(own, usual) * records[run]["steps"] < FEWEST_SECONDS:
            continue
        if sum(max(own, value) > MOST_TIMES * min(own, value) for value in others) > len(others) / 2:
            yield run, f"{own:.3g} seconds a step, where the other seeds of its cell took {usual:.3g}"
