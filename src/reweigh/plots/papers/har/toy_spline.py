"""The penalised logistic spline of HAR's toy, on a grid of [0, 1] whose halves are two classes.

Minimise −(1/n) Σ_i log-lik(f(x_i), y_i) + λ ∫ ρ(x) f'(x)² dx over functions f that are linear between the centres of m
cells. The penalty does not join the halves: there the truth jumps, and classes have no neighbourhood either.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solveh_banded
from scipy.special import expit

STEPS, TOLERANCE = 200, 1e-5  # the last step is below the tolerance, and the error about its square
WHOLE = 1.5  # the largest entry of a Newton step that is taken whole
AT_ONCE = 40  # problems whose arrays fit into a cache


class Data(NamedTuple):
    """How many examples lie in each cell, and how many of them are labelled 1: two of (m,)."""

    examples: np.ndarray
    positives: np.ndarray


def joined(one: Data, other: Data) -> Data:
    """All examples of two."""
    return Data(one.examples + other.examples, one.positives + other.positives)


def centres(points: int) -> np.ndarray:
    """The centres (m,) of the cells."""
    return (np.arange(points) + 0.5) / points


def halves(points: int) -> np.ndarray:
    """The half, 0 or 1, of each cell (m,)."""
    return np.repeat([0, 1], points // 2)


def by_half(values: np.ndarray) -> np.ndarray:
    """Means over the cells of either half: (..., m) -> (..., 2)."""
    return np.asarray(values.reshape(*values.shape[:-1], 2, -1).mean(-1))


def between(strength: np.ndarray) -> np.ndarray:
    """ρ between neighbouring cells (..., m − 1), by that of the cells (..., m): scaled to ∫ρ = 1, and 0 in the middle.

    ∫ρ = 1 says that the strength of an example, ρ/q, is 1 on average, whatever the shape of ρ.
    """
    scaled = strength / strength.mean(-1, keepdims=True)
    found = np.asarray((scaled[..., 1:] + scaled[..., :-1]) / 2)
    found[..., strength.shape[-1] // 2 - 1] = 0
    return found


def fit(data: Data, penalties: np.ndarray, start: np.ndarray | float = 0.0) -> np.ndarray:
    """The minimisers (P, m) of P problems on the same data: logits by cell. `penalties` (P, m − 1): λρ between cells.

    Newton steps, for many problems at once: their tridiagonal systems are one long one that is cut between them. A
    logistic loss has |third derivative| ≤ δ · second derivative along a step whose largest entry is δ. So the objective
    falls with a whole step where e^δ − 1 − δ < δ², up to δ = 1.79, and with the share ln(1 + δ)/δ of any. It is convex:
    any start ends at the minimum. Raises ArithmeticError where STEPS do not suffice, LinAlgError for a half without any
    example.
    """
    logits = np.broadcast_to(np.asarray(start, float), (len(penalties), len(data.examples)))
    pieces = [slice(first, first + AT_ONCE) for first in range(0, len(penalties), AT_ONCE)]
    return np.concatenate([_fit(data, penalties[piece], logits[piece].copy()) for piece in pieces])


def _fit(data: Data, penalties: np.ndarray, logits: np.ndarray) -> np.ndarray:
    weights, positives = (counts / data.examples.sum() for counts in data)
    pulls = 2 * len(weights) * penalties  # of a difference of neighbours, which are 1/m apart
    unfinished = np.arange(len(penalties))
    for _ in range(STEPS):
        steps = _newton(logits[unfinished], pulls[unfinished], weights, positives)
        largest = np.abs(steps).max(1)
        shares = np.where(largest <= WHOLE, 1, np.log1p(largest) / np.maximum(largest, WHOLE))
        logits[unfinished] -= shares[:, None] * steps
        unfinished = unfinished[largest > TOLERANCE]
        if not len(unfinished):
            return logits
    raise ArithmeticError(f"{len(unfinished)} of {len(penalties)} splines did not converge in {STEPS} Newton steps")


def _newton(logits: np.ndarray, pulls: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Hessian⁻¹ · gradient of each problem (P, m)."""
    chances = expit(logits)
    gradient, bands = weights * chances - positives, np.zeros((2, *logits.shape))
    along = np.diff(logits) * pulls
    gradient[:, :-1] -= along
    gradient[:, 1:] += along
    bands[0, :, 1:] = -pulls  # the first of a row is the coupling to the problem before it: none
    bands[1] = weights * chances * (1 - chances)
    bands[1, :, :-1] += pulls
    bands[1, :, 1:] += pulls
    flat = bands.reshape(2, -1)
    solved = solveh_banded(flat, gradient.ravel(), overwrite_ab=True, overwrite_b=True, check_finite=False)
    return np.asarray(solved.reshape(logits.shape))


def excess(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Expected loss above the least possible one, given x, in nats: KL(p* ‖ p), of logits f (..., m) and f* (m,)."""
    chance = expit(truth)
    least = np.logaddexp(0, truth) - chance * truth
    return np.asarray(np.logaddexp(0, logits) - chance * logits - least)
