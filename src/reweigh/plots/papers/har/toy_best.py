"""What HAR's toy comes to: the best λ and the best exponent γ over many draws, with intervals over the draws.

Everything is a function of the mean risk over draws, so that an interval comes from drawing the draws again (bootstrap,
95 % by percentiles): no t interval fits a minimum. What is compared shares its draws.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from reweigh.plots.papers.har import toy_theory as theory
from reweigh.plots.papers.har.toy_draws import (
    EXPONENT,
    LENGTH,
    WAVES,
    Problem,
    Truth,
    excess_risks,
    lambdas_of,
    truth_of,
)
from reweigh.plots.papers.har.toy_spline import by_half
from reweigh.streams import rng

FINE = 20  # points between two of a grid


class Interval(NamedTuple):
    """A value and the ends of its 95 % bootstrap interval over draws, each of any shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Outcome(NamedTuple):
    """One problem at one n: the mean risks, once as drawn and then of each resample, (1 + resamples, shapes, λ, 2)."""

    problem: Problem
    n: int
    truth: Truth
    means: np.ndarray
    risks: np.ndarray  # of each draw (draws, shapes, λ, 2)


def outcome(problem: Problem, n: int, options: Mapping[str, Any]) -> Outcome:
    """Draw a problem, and draw its draws again."""
    risks = excess_risks(problem, n, options)
    draws, again = len(risks), rng(options["seed"], "har", "toy", "bootstrap", problem.name, n)
    shares = again.multinomial(draws, np.full(draws, 1 / draws), options["resamples"]) / draws
    shares = np.concatenate([np.full((1, draws), 1 / draws), shares])
    return Outcome(problem, n, truth_of(problem, options), np.tensordot(shares, risks, 1), risks)


def half_weights(options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """How much each half counts, (2,): as the data are distributed, or equally, as in a balanced test set."""
    return {"data": np.array([1 - options["rare"], options["rare"]]), "balanced": np.array([0.5, 0.5])}


def lowest(grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where positive values (..., G) on a grid (G,) are least, and how low: by a cubic spline through their logs."""
    fine = np.linspace(grid[0], grid[-1], FINE * (len(grid) - 1) + 1)
    smooth = CubicSpline(grid, np.log(values), axis=-1)(fine)
    return fine[smooth.argmin(-1)], np.exp(smooth.min(-1))


def interval(values: np.ndarray) -> Interval:
    """By values of the mean as drawn, then of each resample, along the first axis."""
    low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
    return Interval(values[0], low, high)


def at_best_lambda(found: Outcome, weights: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """The mean risk of each shape at its own best λ, (1 + resamples, shapes)."""
    return lowest(np.log(lambdas_of(options)), found.means @ weights)[1]


def best_pair(found: Outcome, options: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Two strengths, one for each half, chosen freely: log λ and risk of each half, two of (1 + resamples, 2).

    Halves are not joined, so that the uniform shape, constant within each, has at some λ all that a half can have.
    """
    uniform = found.means[:, len(options["gammas"])]
    return lowest(np.log(lambdas_of(options)), np.moveaxis(uniform, -1, -2))


def best_exponent(found: Outcome, weights: np.ndarray, options: Mapping[str, Any]) -> Interval:
    """The γ of the least risk where ρ = (q I)^γ, point by point."""
    gammas = np.array(options["gammas"])
    return interval(lowest(gammas, at_best_lambda(found, weights, options)[:, : len(gammas)])[0])


def exponent_by_half(found: Outcome, options: Mapping[str, Any]) -> Interval:
    """The γ of the best pair of strengths, ρ = (q I)^γ with the mean I of each half: it has no weights of halves."""
    logs, q = best_pair(found, options)[0], by_half(found.truth.density)
    ratio = math.log(np.divide(*(q * by_half(found.truth.information))))
    return interval((logs[:, 0] - logs[:, 1] + math.log(q[0] / q[1])) / ratio)


def exponent_by_theory(truth: Truth, n: int, amplitude: float | None) -> float:
    """The same by formula: for small bandwidths with the curvatures of both halves, or for any, of one cosine."""
    informations = n * by_half(truth.density) * by_half(truth.information)
    pairs = list(zip(informations.tolist(), truth.curvatures.tolist(), strict=True))
    bandwidths = [
        theory.rough_bandwidth(s, bend) if amplitude is None else theory.wave_bandwidth(s, amplitude, WAVES, LENGTH)
        for s, bend in pairs
    ]
    return theory.exponent((bandwidths[0], bandwidths[1]), (pairs[0][0], pairs[1][0]))


def har_place(options: Mapping[str, Any]) -> int:
    """Where among the shapes the strengths of HAR are: ρ = (q I)^.6."""
    return list(options["gammas"]).index(EXPONENT)
