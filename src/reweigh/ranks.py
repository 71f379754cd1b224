"""Ranks of methods over settings, and which of them differ: Friedman's test, Nemenyi's difference, signed ranks.

After Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets" (JMLR 2006), and Benavoli et al., "Should
we really use post-hoc tests based on mean-ranks?" (JMLR 2016), who show that Nemenyi's verdict on two methods hangs on
which others are in the field; signed ranks look at the two alone. Both are given. Declared before any run:

* A block (a setting, with the mean score of each method there) counts if every method has a score in it. Blocks that
  are not complete are left out, and named. −∞, the score of what diverged, is one: it has the last rank.
* Tests take blocks for independent. Those of one setting are not (its seeds agree on what is good there), so that
  ranks over blocks of a setting and a seed are a second reading without any test.

Scores are arrays (..., blocks, methods), higher is better; rank 1 is the best, and equal scores share their ranks.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, fdtrc
from scipy.stats import rankdata, studentized_range, wilcoxon

from reweigh import stats
from reweigh.stats import ALPHA

FEWEST_METHODS = 3  # of Friedman's test


@dataclass(frozen=True, slots=True)
class Friedman:
    """Friedman's test that k methods rank alike over N blocks, and Iman and Davenport's F, which is less cautious.

    chi_square has k − 1 degrees of freedom, f has k − 1 and (k − 1)(N − 1); where all blocks agree f is infinite, and
    p_f the probability of that. All are None with fewer than three methods or two blocks, or where all scores tie.
    """

    chi_square: float | None
    p: float | None
    f: float | None
    p_f: float | None


def ranks(scores: np.ndarray) -> np.ndarray:
    """The rank of each method in each block: (..., methods) -> the same. Raises ValueError where a score is missing.

    >>> ranks(np.array([[0.9, 0.7, 0.9, -np.inf]])).tolist()
    [[1.5, 3.0, 1.5, 4.0]]
    """
    if np.isnan(scores).any():
        raise ValueError("ranks need a score of every method in every block")
    return np.asarray(rankdata(-np.asarray(scores, float), axis=-1))


def chi_square(ranked: np.ndarray) -> np.ndarray:
    """Friedman's statistic of ranks (..., blocks, methods), corrected for ties: (...). NaN where all scores tie."""
    blocks, methods = ranked.shape[-2:]
    between = ((ranked.sum(-2) - blocks * (methods + 1) / 2) ** 2).sum(-1)
    within = (ranked**2).sum((-2, -1)) - blocks * methods * (methods + 1) ** 2 / 4
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((methods - 1) * between / within)


def friedman(ranked: np.ndarray) -> Friedman:
    """The test of ranks (blocks, methods)."""
    blocks, methods = ranked.shape
    found = float(chi_square(ranked)) if methods >= FEWEST_METHODS and blocks > 1 else math.nan
    if math.isnan(found):
        return Friedman(None, None, None, None)
    rest = blocks * (methods - 1) - found
    f = (blocks - 1) * found / rest if rest > 1e-9 * blocks * methods else math.inf
    if math.isinf(f):
        p_f = math.exp(-(blocks - 1) * math.lgamma(methods + 1))  # 1 / k! for each block after the first
    else:
        p_f = float(fdtrc(methods - 1, (methods - 1) * (blocks - 1), f))
    return Friedman(found, float(chdtrc(methods - 1, found)), f, p_f)


@functools.cache
def nemenyi_quantile(methods: int, alpha: float = ALPHA) -> float:
    """q of Nemenyi's test: the upper quantile of the studentised range with infinitely many degrees, over √2.

    >>> round(nemenyi_quantile(10), 3)
    3.164
    """
    return float(studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)


def critical_difference(methods: int, blocks: int, alpha: float = ALPHA) -> float:
    """By how much the average ranks of two of so many methods must differ over so many blocks (Nemenyi)."""
    return nemenyi_quantile(methods, alpha) * math.sqrt(methods * (methods + 1) / (6 * blocks))


def least_signed_rank_p(blocks: int) -> float:
    """The least two-sided p that signed ranks of so many blocks can have: all differences have one sign."""
    return float(min(1.0, 2.0 ** (1 - blocks)))


def signed_rank_p(scores: np.ndarray) -> np.ndarray:
    """Two-sided p of Wilcoxon's signed-rank test of each two methods: (blocks, methods) -> (methods, methods).

    Exact where no differences tie; blocks in which two methods tie say nothing about them. A difference to a run that
    diverged is larger than any other. Not corrected; 1 on the diagonal, and where all blocks tie.
    """
    methods = scores.shape[1]
    found = np.ones((methods, methods))
    for one, other in itertools.combinations(range(methods), 2):
        differences = _differences(scores[:, one], scores[:, other])
        if differences.any():
            found[one, other] = found[other, one] = float(wilcoxon(differences).pvalue)
    return found


def holm_pairs(p: np.ndarray) -> np.ndarray:
    """The p values of all pairs of methods (methods, methods), symmetric, by Holm's correction over the pairs."""
    above = np.triu_indices(len(p), 1)
    corrected = np.ones_like(p)
    corrected[above] = np.array(stats.holm(p[above].tolist()), float)
    return np.minimum(corrected, corrected.T)


def cliques(average_ranks: Sequence[float] | np.ndarray, not_different: np.ndarray) -> list[list[int]]:
    """The bars of a critical-difference diagram: runs of two or more methods, next to each other by average rank.

    No two methods of a bar differ, and no bar lies inside another; from the best one on. `not_different` is symmetric
    (methods, methods). Methods of equal rank stand in the order in which they are given. Two methods that do not differ
    may have no bar, where one between them does differ from either.

    >>> cliques([1.2, 3.0, 2.0], np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]], bool))
    [[0, 2], [2, 1]]
    """
    order = sorted(range(len(average_ranks)), key=lambda method: (average_ranks[method], method))
    found: list[list[int]] = []
    end = 0  # of the bar before
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and all(not_different[order[stop], one] for one in order[start:stop]):
            stop += 1
        if stop - start > 1 and stop > end:
            found.append(order[start:stop])
            end = stop
    return found


def _differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """ours − theirs by block, where −∞ less −∞ is 0, and what is infinite is larger than all that is not."""
    with np.errstate(invalid="ignore"):
        raw = np.where(ours == theirs, 0.0, ours - theirs)
    beyond = 2 * np.abs(raw[np.isfinite(raw)]).max(initial=0.0) + 1
    return np.where(np.isinf(raw), np.sign(raw) * beyond, raw)
