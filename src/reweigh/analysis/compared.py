"""Published numbers that compare two methods: gains, relative gains, ratios of run times, from runs that share a seed.

`metrics.Metric.compares` says how such a number is made of two runs, and `of` of what. Seconds are those of whole runs,
what others trained of them included; they compare where both ran on one device with equally many beside them.
"""

import math
from collections.abc import Iterable
from typing import Any

from reweigh import metrics
from reweigh.analysis.resolution import of_difference, ratio_resolution, resolution
from reweigh.config.models import Paper
from reweigh.records.lineage import value_of

Body = dict[str, Any]
COST = "seconds"


def pairs(bodies: Iterable[Body], against: str) -> list[tuple[Body, Body]]:
    """The records of two methods by seed: those of a method, each with that of the same seed of `against`."""
    sides: tuple[dict[int, Body], dict[int, Body]] = ({}, {})
    for body in bodies:
        sides[body["spec"]["method"] == against][body["spec"]["seed"]] = body
    return [(ours, sides[1][seed]) for seed, ours in sides[0].items() if seed in sides[1]]


def value(metric: str, ours: Body, theirs: Body) -> float | None:
    """What a metric is of two runs of one seed; None where one has no value, or their costs do not compare."""
    known = metrics.of(metric)
    if known.of == COST:
        return ours[COST] / theirs[COST] if _cost_compares(ours, theirs) else None
    a, b = value_of(ours, known.of), value_of(theirs, known.of)
    if a is None or b is None:
        return None
    if known.compares == "difference":
        return a - b
    return a / b - (known.compares == "excess") if b else None


def step(metric: str, ours: Body, theirs: Body) -> float:
    """The step in which that is known: rounding errors add up, relative to their values where these are divided."""
    known = metrics.of(metric)
    if (found := value(metric, ours, theirs)) is None:
        return 0.0
    if known.of == COST:
        return found * ratio_resolution(ours[COST], theirs[COST])
    steps = resolution(ours, known.of), resolution(theirs, known.of)
    if known.compares == "difference":
        return of_difference(*([step] for step in steps))
    a, b = value_of(ours, known.of) or 0.0, value_of(theirs, known.of) or 1.0
    return math.hypot(steps[0] / b, steps[1] * a / b**2)


def values(metric: str, together: Iterable[tuple[Body, Body]]) -> list[float]:
    """The values of some pairs, of those that have one."""
    found = (value(metric, *pair) for pair in together)
    return [one for one in found if one is not None]


def titled(paper: Paper, method: str, against: str | None = None) -> str:
    """A method's name as readers see it, with that of the one which it is compared with."""
    title = paper.methods[method].title
    return f"{title} over {paper.methods[against].title}" if against else title


def _cost_compares(ours: Body, theirs: Body) -> bool:
    """As for claims of cost (`scorecard.evidence.cost_pairs`): alone on a GPU, or with equally many on a processor."""
    devices = [body["device"] for body in (ours, theirs)]
    shared = any(one["kind"] == "cuda" and one["runs_at_once"] > 1 for one in devices)
    alike = len({(one["name"], one["runs_at_once"]) for one in devices}) == 1
    whole = all(body["status"] == "finished" and body["steps"] and body[COST] > 0 for body in (ours, theirs))
    return alike and whole and not shared
