"""Means of runs with their intervals, computed again by another way than `stats` has."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from reweigh import metrics


def summary(values: Sequence[float], metric: str = "") -> dict[str, Any]:
    """Mean, sd, n and the ends of the 95 % interval that a line of a metric states; None for what n does not allow."""
    n = len(values)
    mean = statistics.fmean(values) if n else None
    if mean is None or n < 2:
        return {"mean": mean, "sd": None, "n": n, "low": None, "high": None}
    sd = statistics.stdev(values)
    low, high = ends(mean, float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n), *metrics.ends(metric))
    return {"mean": mean, "sd": sd, "n": n, "low": low, "high": high}


def ends(mean: float, half: float, least: float, most: float) -> tuple[float, float]:
    """Student's interval, or Wilson's where that leaves what the values can be.

    The latter by its definition: the roots μ of (mean - μ)² = half² (μ - least) (most - μ) / V, where V is the same
    product at the mean.
    """
    if (least <= mean - half and mean + half <= most) or not least <= mean <= most:
        return mean - half, mean + half
    product = (mean - least) * (most - mean)
    if product == 0:
        return max(least, mean - half), min(most, mean + half)
    ratio = half**2 / product
    roots = np.roots([1 + ratio, -2 * mean - ratio * (least + most), mean**2 + ratio * least * most])
    low, high = sorted(np.real(roots).tolist())
    return max(least, low), min(most, high)
