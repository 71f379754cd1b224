"""How the ridges of a figure of class weights are defined: their bins, and the quantiles that stand beside them."""

import numpy as np

BINS = 80  # of a ridge, over all weights that its panel shows and a margin on both sides
MARGIN = 0.04  # as a share of the range of these weights
NARROWEST = 0.01  # the margin where all weights are the same
QUANTILES = (0.05, 0.95)
NORMALISED = 1e-3  # what the weights of a step may sum to beside 1, by rounding


def shares(weights: np.ndarray) -> np.ndarray:
    """Weights of classes (steps, C) as shares of their sum in each step; those that sum to 1 stay as they are.

    Weights that a method does not normalise, and may go below 0, count as they are used: max(w, 0) (TDR, eq. 6).

    >>> shares(np.array([[2.0, 6.0], [-1.0, 3.0]])).tolist()
    [[0.25, 0.75], [0.0, 1.0]]
    """
    if not len(weights) or ((weights >= 0).all() and np.abs(weights.sum(1) - 1).max() < NORMALISED):
        return weights
    used = np.clip(weights, 0, None)
    return np.asarray(used / used.sum(1, keepdims=True))


def bin_edges(samples: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Edges (BINS + 1,) of the bins of one panel, none below 0.

    samples (steps, C): weights of the classes; inverse (C,): what weights in proportion to 1/n would be.
    """
    low, high = min(samples.min(), inverse.min()), max(samples.max(), inverse.max())
    margin = MARGIN * (high - low) or NARROWEST
    return np.linspace(max(0.0, low - margin), high + margin, BINS + 1)
