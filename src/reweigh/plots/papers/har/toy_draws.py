"""HAR's toy, drawn many times: the excess risk of each shape of strengths at each λ, in either half of [0, 1].

The left half is frequent, the right one rare: two classes, say. One of them is uncertain, in one of two ways. With the
`same` curvature the logit of the labels is a cosine in both, about 0 in the uncertain half and far from 0 in the other
one: what the derivation of the exponents assumes. With `flipped` labels the clean logit is the same in both, and labels
are flipped with different probabilities: what HAR is for. Flips make the logit of the labels flatter, too.
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from reweigh.plots.papers.har.toy_spline import Data, between, by_half, centres, excess, fit, halves, joined
from reweigh.streams import rng

UNIFORM, DENSITY, NOISE = "uniform", "density_only", "noise_only"
ERROR, VARIANCE = "har_error", "har_variance"
EXPONENT = 0.6  # of q I in ρ; a strength of an example is ρ/q, so that q has .6 − 1 = −.4
WAVES, LENGTH = 1, 0.5  # waves of the true logit in a half, and the length of a half


class Problem(NamedTuple):
    """One of the four: whether labels are flipped, and whether the rare half is the uncertain one."""

    flipped: bool
    rare_is_uncertain: bool

    @property
    def title(self) -> str:
        words = ("clean", "noisy") if self.flipped else ("sure", "uncertain")
        return f"rare half {words[self.rare_is_uncertain]}"

    @property
    def name(self) -> str:
        return f"{'flipped labels' if self.flipped else 'same curvature'}, {self.title}"


PROBLEMS = [Problem(flipped, uncertain) for flipped in (False, True) for uncertain in (True, False)]


class Truth(NamedTuple):
    """Density q and logit f* of the labels as they are given, flips and all, by cell: two of (m,)."""

    density: np.ndarray
    logit: np.ndarray

    @property
    def information(self) -> np.ndarray:
        """I = p(1 − p) of the labels, (m,)."""
        return np.asarray(expit(self.logit) * expit(-self.logit))

    @property
    def curvatures(self) -> np.ndarray:
        """Root mean square of f*'' in each half, (2,), by differences within it."""
        bends = [np.diff(part, 2) * len(self.logit) ** 2 for part in np.split(self.logit, 2)]
        return np.array([math.sqrt((bend**2).mean()) for bend in bends])


def truth_of(problem: Problem, options: Mapping[str, Any]) -> Truth:
    """Density and logit of a problem; the cosine is flat at both ends of a half, as the penalty asks for."""
    half = halves(options["points"])
    wave = np.cos(2 * np.pi * WAVES * centres(options["points"]) / LENGTH)
    uncertain = half == int(problem.rare_is_uncertain)
    if problem.flipped:
        flips = np.where(uncertain, options["flips"]["noisy"], options["flips"]["clean"])
        values = logit(flips + (1 - 2 * flips) * expit(options["amplitudes"]["flipped"] * wave))
    else:
        values = np.where(uncertain, 0.0, options["offset"]) + options["amplitudes"]["same"] * wave
    return Truth(np.where(half, options["rare"], 1 - options["rare"]) / LENGTH, values)


def draw_data(truth: Truth, n: int, draw: np.random.Generator) -> Data:
    """n examples and their labels, counted by cell."""
    examples = draw.multinomial(n, truth.density / truth.density.sum())
    return Data(examples, draw.binomial(examples, expit(truth.logit)))


def known_shapes(truth: Truth, gammas: list[float]) -> np.ndarray:
    """ρ by cell (shapes, m) of what needs no estimate: (q I)^γ for each γ, then uniform, density-only, noise-only.

    The last three as strengths of examples are 1, q^−.4 and I^.6; ρ is q times that.
    """
    q, information = truth.density, truth.information
    arms = [q, q**EXPONENT, q * information**EXPONENT]
    return np.array([*((q * information) ** gamma for gamma in gammas), *arms])


def estimated_shapes(pilot: np.ndarray, counted: Data, held_out: Data) -> np.ndarray:
    """ρ by cell (2, m) with q and I by half, as HAR has them by class: from counts, and from a fit to other data.

    `pilot` (m,): that fit's logits. I is its share of errors among `held_out` labels, or its mean p(1 − p) there.
    """
    wrong = np.where(pilot > 0, held_out.examples - held_out.positives, held_out.positives)
    spread = held_out.examples * expit(pilot) * expit(-pilot)
    of_half = halves(len(pilot))
    counts, totals = np.bincount(of_half, counted.examples), np.bincount(of_half, held_out.examples)
    shapes = []
    for uncertainty in (wrong, spread):
        estimate = np.maximum(np.bincount(of_half, uncertainty), 1) / totals  # no half without an error has strength 0
        strengths = estimate**EXPONENT / counts ** (1 - EXPONENT)
        shapes.append((counts * strengths)[of_half])
    return np.array(shapes)


def first_fit(data: Data, held_out: Data, density: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Logits (m,) of a fit of uniform strengths; of all λ the one whose fit explains held-out labels best."""
    logits = fit(data, lambdas[:, None] * between(density))
    explained = (held_out.positives * logits - held_out.examples * np.logaddexp(0, logits)).sum(1)
    return np.asarray(logits[explained.argmax()])


def lambdas_of(options: Mapping[str, Any]) -> np.ndarray:
    """The λ that are tried, evenly spaced in their logarithm."""
    first, last = options["lambdas"]["range"]
    return np.geomspace(first, last, options["lambdas"]["count"])


def excess_risks(problem: Problem, n: int, options: Mapping[str, Any]) -> np.ndarray:
    """Mean excess risk over x in a half, (draws, shapes, λ, 2): shapes in the order of `known_shapes`, then estimated.

    In each draw n/2 examples give the first fit, the other half what is estimated, and all n the fits that count.
    """
    return _excess_risks(problem, n, json.dumps(dict(options), sort_keys=True))


@functools.lru_cache(maxsize=32)
def _excess_risks(problem: Problem, n: int, options: str) -> np.ndarray:
    known = json.loads(options)
    truth, lambdas = truth_of(problem, known), lambdas_of(known)
    shapes, found = known_shapes(truth, known["gammas"]), []
    for place in range(known["draws"]):
        draw = rng(known["seed"], "har", "toy", problem.name, n, place)
        first, second = (draw_data(truth, n // 2, draw) for _ in range(2))
        pilot = first_fit(first, second, truth.density, lambdas)
        everything = joined(first, second)
        mine = between(np.concatenate([shapes, estimated_shapes(pilot, everything, second)]))
        penalties = (lambdas[:, None] * mine[:, None, :]).reshape(-1, mine.shape[-1])
        risks = by_half(excess(fit(everything, penalties, pilot), truth.logit))
        found.append(risks.reshape(len(mine), len(lambdas), 2))
    return np.array(found)
