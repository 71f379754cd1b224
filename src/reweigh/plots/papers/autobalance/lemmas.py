"""The arithmetic of AutoBalance's two lemmas, each in the smallest case that shows it, and of its Neumann series.

Lemma 1: with unequal multipliers Δ_k the parametric loss is not consistent. One input, K free logits f, labels with
probabilities P: gradient flow on Σ_k P_k ℓ(k, Δ f) moves f_k by Δ_k (P_k − softmax(Δ f)_k), so that Σ_k f_k / Δ_k stays
what it is, the softmax tends to P, and the logits to (log P_k + c) / Δ_k. Their order need not be that of P.

Lemma 2: showing a classifier every point of a ball of radius ε_y about each example of class y is as good as a loss
with other parameters. In the limit of the largest margin, y (w·x + b) ≥ 1 + ε_y ‖w‖, only the offset b moves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STEPS = 5_000  # of the gradient flow


class Line(NamedTuple):
    """The line normal·x + offset = 0, with a normal (2,) of length 1, and what the classes keep clear of it."""

    normal: np.ndarray
    offset: float
    clear: float  # the least distance of a class's balls


def radii(gap: float, ratio: float, least: float = 0.0) -> tuple[float, float]:
    """Radii (ε_0, ε_1) at which the distances of the classes from the line are in the ratio δ, class 1's to class 0's.

    `gap` is γ, half of the distance between the hulls. With distances d_0 + d_1 = 2γ and d_1 = δ d_0 the balls touch
    the margin at d_0 − ε_0 = d_1 − ε_1, so that ε_1 − ε_0 = 2γ (δ − 1) / (δ + 1). The smaller one is `least`.

    >>> radii(1.0, 3.0), radii(1.0, 0.25)
    ((0.0, 1.0), (1.2, 0.0))
    """
    difference = 2 * gap * (ratio - 1) / (ratio + 1)
    return least + max(0.0, -difference), least + max(0.0, difference)


def max_margin(points: np.ndarray, classes: np.ndarray, radii: Sequence[float]) -> Line:
    """The line that keeps balls of the classes' radii farthest away: min ‖w‖, y (w·x + b) ≥ 1 + ε_y ‖w‖, y = ±1.

    Points (N, 2) of classes 0 and 1, which a line must be able to separate. For a normal u of length 1 the classes
    reach to max u·x and min u·x; half of what lies between them less both radii is kept clear, whatever the radii are
    by the same normal. That is sought over all angles, ever finer about the best one.
    """
    first, second = points[classes == 0], points[classes == 1]

    def between(angles: np.ndarray) -> np.ndarray:
        normals = np.stack([np.cos(angles), np.sin(angles)])
        return np.asarray((second @ normals).min(0) - (first @ normals).max(0))

    centre, width = 0.0, np.pi
    while width > 1e-12:
        angles = centre + width * np.linspace(-1, 1, 2001)
        centre, width = float(angles[between(angles).argmax()]), width / 500
    normal = np.array([np.cos(centre), np.sin(centre)])
    below, above = float((first @ normal).max()), float((second @ normal).min())
    clear = (above - below - radii[0] - radii[1]) / 2
    return Line(normal, radii[1] + clear - above, clear)


def distances(line: Line, points: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """How far the nearest point of class 0 and of class 1 lies from a line, on its own side."""
    heights = points @ line.normal + line.offset
    return float((-heights[classes == 0]).min()), float(heights[classes == 1].min())


# --- Lemma 1 ---------------------------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum())


def flow(shares: Sequence[float], multipliers: Sequence[float], time: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradient flow of the logits from 0: times (STEPS + 1,) and logits (STEPS + 1, K), by Runge and Kutta's method."""
    of_classes, scale = np.asarray(shares, float), np.asarray(multipliers, float)
    step, logits = time / STEPS, np.zeros(len(of_classes))

    def slope(at: np.ndarray) -> np.ndarray:
        return np.asarray(scale * (of_classes - softmax(scale * at)))

    path = [logits]
    for _ in range(STEPS):
        first = slope(logits)
        second = slope(logits + step / 2 * first)
        third = slope(logits + step / 2 * second)
        fourth = slope(logits + step * third)
        logits = logits + step / 6 * (first + 2 * second + 2 * third + fourth)
        path.append(logits)
    return np.linspace(0, time, STEPS + 1), np.array(path)


def limit(shares: Sequence[float], multipliers: Sequence[float]) -> np.ndarray:
    """Where the flow ends: (log P_k + c) / Δ_k, with c such that Σ_k f_k / Δ_k is 0, as at the start.

    >>> limit([0.5, 0.4, 0.1], [1.0, 0.5, 0.5]).round(3).tolist()
    [0.814, 1.183, -1.59]
    """
    logs, inverse = np.log(np.asarray(shares, float)), 1 / np.asarray(multipliers, float)
    constant = -(logs * inverse**2).sum() / (inverse**2).sum()
    return np.asarray((logs + constant) * inverse)


# --- the Neumann series ----------------------------------------------------------------------------------------------


def filtered(curvature: np.ndarray, step: float, summands: int) -> np.ndarray:
    """What the truncated series puts in the place of 1/λ: ε Σ_{j<J} (1 − ελ)^j = (1 − (1 − ελ)^J) / λ, of λ > 0.

    It is 0 at λ = 2/ε for an even number of summands, and beyond that has the wrong sign.

    >>> filtered(np.array([1.0, 2.0, 2.5, 10.0]), 1.0, 6).round(2).tolist()
    [1.0, 0.0, -4.16, -53144.0]
    """
    return np.asarray((1 - (1 - step * curvature) ** summands) / curvature)
