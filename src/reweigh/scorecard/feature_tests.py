"""Tests of claims about what the last layer of a run sees, from the features that runs kept beside their records."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from reweigh import stats
from reweigh.analysis.kept_features import PARTS, kept, neighbour_agreement
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison


def separates_better(evidence: Evidence) -> list[Comparison]:
    """Nearest neighbours among the features of `better` are more often of one class than among those of each rival.

    By `neighbour_agreement`, in paired seeds, for training and for test examples, at each setting. A run without
    features, or that diverged, has no value.
    """
    comparisons = []
    for label, ours, theirs in evidence.pairs():
        for part, name in PARTS.items():
            mine, other = (_agreements(evidence, rows, part) for rows in (ours, theirs))
            gains = [mine[seed][0] - other[seed][0] for seed in mine if seed in other]
            step = max((max(mine[seed][1], other[seed][1]) for seed in mine if seed in other), default=0.0)
            found = stats.above(gains, evidence.claim.margin, f"{label}, {name} examples", step)
            comparisons.append(evidence.judged(found, ours, theirs))
    return comparisons


def _agreements(evidence: Evidence, rows: pd.DataFrame, part: str) -> dict[int, tuple[float, float]]:
    """The agreement of each run by seed, with the step in which it is known: one example of the largest class."""
    found = {}
    for seed, run in rows["run"].items():
        features = kept(evidence.records[run], part, evidence.config.root)
        if features is not None and len(features[0]):
            counts = np.unique(features[1], return_counts=True)[1]
            found[seed] = neighbour_agreement(*features), 1 / (len(counts) * counts.max())
    return found


DIFFERENCES = ("separates_better",)  # tests whose effect is a difference
TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {"separates_better": separates_better}
