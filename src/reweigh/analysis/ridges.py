"""How the ridges of a figure of class weights are defined: their bins, and the quantiles that stand beside them."""

import numpy as np

BINS = 80  # of a ridge, over all weights that its panel shows and a margin on both sides
MARGIN = 0.04  # as a share of the range of these weights
NARROWEST = 0.01  # the margin where all weights are the same
QUANTILES = (0.05, 0.95)


def bin_edges(samples: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Edges (BINS + 1,) of the bins of one panel, none below 0.

    samples (steps, C): weights of the classes; inverse (C,): what weights in proportion to 1/n would be.
    """
    low, high = min(samples.min(), inverse.min()), max(samples.max(), inverse.max())
    margin = MARGIN * (high - low) or NARROWEST
    return np.linspace(max(0.0, low - margin), high + margin, BINS + 1)
