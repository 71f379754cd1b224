"""What the weights that a run learned for its classes come to: how far from equal, and how they go with class size."""

from collections.abc import Iterable

import numpy as np

FEWEST = 3  # classes that a line is fitted to


def shares(weights: np.ndarray) -> np.ndarray:
    """Class weights (steps, c) as they act: negative ones are none, and the others count by their share of the sum.

    A step whose weights are all 0 has equal shares.
    """
    clipped = np.clip(weights, 0, None)
    totals = clipped.sum(1, keepdims=True)
    return np.where(totals > 0, clipped / np.where(totals > 0, totals, 1), 1 / weights.shape[1])


def distance_from_equal(weights: np.ndarray) -> float:
    """How far the last shares of class weights (steps, c) lie from 1/c: the largest distance of a class.

    >>> round(distance_from_equal(np.array([[0.5, 0.5], [0.48, 0.52]])), 3)
    0.02
    """
    return float(np.abs(shares(weights)[-1] - 1 / weights.shape[1]).max())


def slope_on_inverse_size(weights: np.ndarray, counts: Iterable[float]) -> float | None:
    """The slope of log mean weight over log 1/n_c: 0 if weights do not depend on class size, 1 if they go as 1/n.

    Means over steps of the shares of class weights (steps, c), by least squares over classes. A class without examples
    has no size, and one whose weight was 0 all the time no logarithm: they are left out. None if fewer than three
    classes are left, or all have one size.

    >>> slope_on_inverse_size(np.array([[1.0, 2.0, 4.0]]), [400, 200, 100])
    1.0
    """
    sizes, means = np.asarray(list(counts), float), shares(weights).mean(0)
    kept = (sizes > 0) & (means > 0)
    if kept.sum() < FEWEST or len(set(sizes[kept])) < 2:
        return None
    x, y = -np.log(sizes[kept]), np.log(means[kept])
    x = x - x.mean()
    return round(float(x @ y / (x @ x)), 12)
