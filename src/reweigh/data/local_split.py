"""The test part of the user's own data: a share of each class, in each group, drawn once."""

from fractions import Fraction

import numpy as np

from reweigh.streams import rng


def share_of(count: int, share: float) -> int:
    """`share` of `count` examples, to the nearest whole number, but at least one of two or more, and never all.

    The share counts as the decimal number it is written as; a half is rounded up.

    >>> share_of(1000, 0.2), share_of(4, 0.1), share_of(2, 0.9), share_of(1, 0.5)
    (200, 1, 1, 0)
    """
    nearest = int(Fraction(str(share)) * count + Fraction(1, 2))
    return min(max(nearest, 1), count - 1)


def drawn_for_test(labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """Which rows are tested on, bool (N,): `share_of` those of each class (int (N,)), in each group if there are any.

    Each class of each group is drawn by a stream of its own, so that no other changes it.
    """
    tested = np.zeros(len(labels), bool)
    cells = np.stack([labels, np.zeros_like(labels) if groups is None else groups], axis=1)
    order = np.lexsort(cells.T[::-1])  # by class, then group, then row
    ends = (np.diff(cells[order], axis=0) != 0).any(axis=1).nonzero()[0] + 1
    for rows in np.split(order, ends):
        label, group = cells[rows[0]].tolist()
        chosen = rng(seed, "local-test", label, group).permutation(rows)[: share_of(len(rows), share)]
        tested[chosen] = True
    return tested
