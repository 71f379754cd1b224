"""Seconds a step, among records that do the same work: the seeds of a cell, and cells that differ in their split alone.

Claims of cost rest on seconds, which nothing else in a record bears out. Whoever divides those of one seed by ten is
found among the seeds; of all seeds of a cell, among the cells; of all cells that do the same work, by `--rerun` only.
"""

import statistics
from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

from reweigh.config.names import RunName
from reweigh.digest import canonical

Body = dict[str, Any]
Cell = tuple[Hashable, int, Hashable]  # what a step does and on which machine, how many there are, and the cell's name
Name = TypeVar("Name", bound=Hashable)
MOST_TIMES = 3  # over 4,074 records of MNIST, tables and features made on busy machines: 1.43 for seeds, 1.80 for cells
FEWEST_OTHERS = 2  # of two that disagree none is the odd one
FEWEST_SECONDS = 1.0  # what takes less is decided by how it starts
DECIDING = ("batch_size", "target_batch_size", "evaluate_every")  # of a spec's training: how long a step takes


def out_of_time(records: dict[str, Body]) -> dict[str, str]:
    """The runs whose seconds a step are far from those of most others that do the same work, each with both numbers.

    Only finished runs are compared, and those of one device and setting of it: on a GPU also of as many runs at once.
    """
    seeds: dict[Cell, dict[str, float]] = {}
    for run, body in records.items():
        if body["status"] == "finished" and body["steps"] and body["seconds"] >= 0:
            key = (_work(body["spec"]), *_machine(body)), body["steps"], RunName.parse(run).cell
            seeds.setdefault(key, {})[run] = body["seconds"] / body["steps"]
    cells: dict[Hashable, dict[Cell, float]] = {}
    found = {}
    for cell, runs in seeds.items():
        alike, steps, _ = cell
        cells.setdefault(alike, {})[cell] = statistics.median(runs.values())
        for run, usual in _odd(runs, steps):
            found[run] = f"{runs[run]:.3g} seconds a step, where the other seeds of its cell took {usual:.3g}"
    for times in cells.values():
        for cell, usual in _odd(times, max(steps for _, steps, _ in times)):
            said = f"{times[cell]:.3g} seconds a step in its cell, where cells that do the same work took {usual:.3g}"
            found = dict.fromkeys(seeds[cell], said) | found
    return found


def _work(spec: dict[str, Any]) -> bytes:
    """What decides how long a step takes, with its share of the evaluations: neither split nor seed nor rates."""
    training = {name: spec["training"].get(name) for name in DECIDING}
    parts = [spec[name] for name in ("uses", "method_options", "model")]
    return canonical([*parts, training, spec["data"]["dataset"], spec["data"].get("augment")])


def _machine(body: Body) -> Iterator[Hashable]:
    device = body["device"]
    yield from (device.get(name) for name in ("kind", "name", "threads", "precision"))
    if device["kind"] == "cuda":
        yield device.get("runs_at_once")
        yield tuple((device.get("graph") or {}).get("captured", ()))


def _odd(times: dict[Name, float], steps: int) -> Iterator[tuple[Name, float]]:
    """What most others are far from, with the median of these: of three, not the two that a third disagrees with."""
    for name, own in times.items():
        others = [value for other, value in times.items() if other != name]
        usual = statistics.median(others) if others else own
        if len(others) < FEWEST_OTHERS or max(own, usual) * steps < FEWEST_SECONDS:
            continue
        if sum(max(own, value) > MOST_TIMES * min(own, value) for value in others) > len(others) / 2:
            yield name, usual
