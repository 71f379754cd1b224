"""Tests of claims about what runs logged, or kept, as a trace: how much of it there is, and whether it falls short."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from reweigh import stats
from reweigh.analysis.resolution import FLOAT32
from reweigh.analysis.tables import logged
from reweigh.cells import cells
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison

Reduce = Callable[[np.ndarray], float]


def logs_more(evidence: Evidence) -> list[Comparison]:
    """The mean of `trace` is more for `better` than for each rival, in paired seeds; alone, it is above the margin.

    The mean is over all that a run has of it: epochs, steps, examples. A run without it, or that diverged, has none.
    """
    if not evidence.claim.worse and not evidence.claim.pairs:
        return _alone(evidence, np.mean)
    comparisons = []
    for label, ours, theirs in evidence.pairs():
        mine, other = (_values(evidence, rows, np.mean) for rows in (ours, theirs))
        gains = [mine[seed] - other[seed] for seed in mine if seed in other]
        step = FLOAT32 * max(map(abs, (*mine.values(), *other.values())), default=0.0)
        comparisons.append(evidence.judged(stats.above(gains, evidence.claim.margin, label, step), ours, theirs))
    return comparisons


def stays_above(evidence: Evidence) -> list[Comparison]:
    """The least that `better` logged as `trace`, in any epoch of a run, is above the margin: at each setting."""
    return _alone(evidence, np.min)


def _alone(evidence: Evidence, reduce: Reduce) -> list[Comparison]:
    comparisons = []
    for setting in evidence.settings:
        rows = evidence.cell(setting, evidence.claim.better or "")
        values = list(_values(evidence, rows, reduce).values())
        step = FLOAT32 * max(map(abs, (*values, evidence.claim.margin)), default=0.0)  # of values that are all 0, too
        comparisons.append(evidence.judged(stats.above(values, evidence.claim.margin, setting, step), rows))
    return comparisons


def _values(evidence: Evidence, rows: pd.DataFrame, reduce: Reduce) -> dict[int, float]:
    """What the trace of each run comes to, by seed."""
    found = {}
    for seed, run in rows["run"].items():
        body = evidence.records[run]
        if body["status"] != "finished":
            continue
        arrays = logged(body, evidence.claim.trace or "", root=evidence.config.root)
        if arrays and arrays[0].size:
            found[seed] = float(reduce(arrays[0].astype(float)))
    return found


def cell_above(evidence: Evidence) -> list[Comparison]:
    """What `better` logged last as `trace`, one value a class, is larger in the first of `cells` than in the second.

    By the means of the two cells, and by more than the margin: at each setting that has both cells.
    """
    claim, comparisons = evidence.claim, []
    for setting in evidence.settings:
        differences, largest = [], 0.0
        for body in evidence.finished(setting):
            arrays = logged(body, claim.trace or "", root=evidence.config.root)
            if not arrays or not arrays[0].size:
                continue
            last = arrays[0][-1].astype(float)
            found = cells(body["spec"]["data"]["split"], len(last))
            if all(cell in found for cell in claim.cells):
                first, second = (float(last[found[cell]].mean()) for cell in claim.cells)
                differences.append(first - second)
                largest = max(largest, abs(first), abs(second))
        place = stats.above(differences, claim.margin, setting, FLOAT32 * largest)
        comparisons.append(evidence.judged(place, evidence.cell(setting, claim.better or "")))
    return comparisons


TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
    "logs_more": logs_more,
    "stays_above": stays_above,
    "cell_above": cell_above,
}
