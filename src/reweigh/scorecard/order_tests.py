"""Tests of claims about an order: of several methods or settings, or of what was learned by the size of classes."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from reweigh import stats
from reweigh.analysis.tables import logged
from reweigh.analysis.traces import correlation_with_size
from reweigh.scorecard.evidence import Evidence
from reweigh.stats import Comparison

EXACT = 10  # columns up to which Page's test is exact
SAME = 12  # decimals: values that agree to them are ties, whatever arithmetic left of them


def ordered(evidence: Evidence) -> list[Comparison]:
    """The scores stand in the claim's order, in paired seeds: Page's test for an ordered alternative.

    `order` methods: `better` before `worse`, in the order that they are named in, at each setting. `order` settings:
    `better` gets better from each of the claim's settings to the next.
    """
    claim = evidence.claim
    if claim.order == "settings":
        cells = [evidence.cell(setting, claim.better or "") for setting in evidence.settings]
        return [_ordered(evidence, cells, f"{claim.better} over {len(cells)} settings")]
    methods = [claim.better or "", *claim.worse][::-1]
    return [_ordered(evidence, [evidence.cell(one, name) for name in methods], one) for one in evidence.settings]


def _ordered(evidence: Evidence, cells: Sequence[pd.DataFrame], label: str) -> Comparison:
    """Cells from the worst to the best, by the seeds at which all have a score."""
    scores = pd.concat([evidence.scores(cell) for cell in cells], axis=1, keys=range(len(cells))).dropna()
    return evidence.judged(page(scores.to_numpy(float), label), *cells)


def page(scores: np.ndarray, label: str = "") -> Comparison:
    """Do the scores (seeds, k) rise from left to right, in each seed? Page's test (1963). Effect: a correlation.

    L = Σ_j j R_j with R_j the sum over seeds of the rank of column j. For: L as large or larger where each order of a
    seed's values is as likely as any other; against: as small or smaller. Exact, ties included, for up to ten columns,
    else by the normal approximation. Effect: the mean over seeds of Spearman's correlation with the claimed order; it
    is 1 if all seeds have that order.
    """
    n, k = scores.shape
    if n == 0 or k < 3:
        return stats.untested(label, n)
    ranks = [_ranks(row) for row in scores]
    doubled = [int(sum(2 * place * rank for place, rank in enumerate(row, 1))) for row in ranks]
    total, mean = sum(doubled), n * k * (k + 1) ** 2 / 2
    if all(len(set(row)) == 1 for row in ranks):
        return stats.untested(label, n, 0.0)
    effect = float((total - mean) / (n * k * (k * k - 1) / 6))
    if k <= EXACT:
        p_for, p_against = _exact(ranks, total)
    else:
        variance = sum(4 * np.var(row) * k**2 * (k + 1) / 12 for row in ranks)
        away = (total - mean) / math.sqrt(variance)
        p_for, p_against = float(ndtr(-away)), float(ndtr(away))
    return Comparison(label, n, effect, None, None, total / 2, p_for, p_against)


def _ranks(row: np.ndarray) -> tuple[float, ...]:
    """Ranks from 1, ties shared."""
    known = np.round(row, SAME)
    return tuple(float((known < value).sum() + ((known == value).sum() + 1) / 2) for value in known)


def _exact(ranks: Sequence[tuple[float, ...]], doubled: int) -> tuple[float, float]:
    """The chances of twice L being so much or more, and so much or less, given each seed's ranks in any order."""
    chances = np.ones(1)
    for row in ranks:
        chances = np.convolve(chances, _orders(tuple(sorted(row))))
    return min(1.0, float(chances[doubled:].sum())), min(1.0, float(chances[: doubled + 1].sum()))


@functools.cache
def _orders(ranks: tuple[float, ...]) -> np.ndarray:
    """The chances of 2 Σ_j j r_j being 0, 1, 2, ... where each order of the ranks is as likely as any other.

    Column by column: for each set of ranks (bits) that the first columns may have, the chances of its sums.
    """
    shifts = [round(2 * rank) for rank in ranks]
    size = sum(place * shift for place, shift in enumerate(shifts, 1)) + 1  # of the largest sum, for ranks that rise
    chances = np.zeros((1 << len(ranks), size))
    chances[0, 0] = 1.0
    for taken in range((1 << len(ranks)) - 1):
        place = taken.bit_count() + 1
        for bit, shift in enumerate(shifts):
            if not taken >> bit & 1:
                moved = place * shift
                chances[taken | 1 << bit, moved:] += chances[taken, : size - moved] / (len(ranks) - place + 1)
    return np.asarray(chances[-1])


def follows_frequency(evidence: Evidence) -> list[Comparison]:
    """What `better` learned for its classes (`trace`, its last row) goes with their size, one way or the other.

    Spearman's correlation of each run; its mean is above the margin or below minus the margin (Bonferroni): the
    opposite of `within`. Runs that go opposite ways are no order. Effect: the mean, above 0 if frequent classes have
    the larger values.
    """
    comparisons = []
    for setting in evidence.settings:
        values, steps = [], [0.0]
        for body in evidence.finished(setting):
            arrays = logged(body, evidence.claim.trace or "", root=evidence.config.root)
            if arrays and len(arrays[0]):
                last = arrays[0][-1].astype(float)
                values.append(correlation_with_size(last))
                steps.append(12 / max(1, last.size**3 - last.size))  # two neighbours change places
        found = stats.opposite(stats.within(values, evidence.claim.margin, setting, max(steps)))
        comparisons.append(evidence.judged(found, evidence.cell(setting, evidence.claim.better or "")))
    return comparisons


TESTS: dict[str, Callable[[Evidence], list[Comparison]]] = {
    "ordered": ordered,
    "follows_frequency": follows_frequency,
}
