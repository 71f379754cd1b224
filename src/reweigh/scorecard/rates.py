"""How often the rule for published numbers errs: calls a perfect replication worse, or a gap replicated.

It is computed in two independent ways. `simulate` draws runs and applies the rule to them. `exact` integrates: the mean
and the sd of a normal sample are independent. So, given the sd s of n runs, a verdict's probability is that of a normal
mean in an interval, and s √(n-1) / σ is chi distributed. Both take and return fractions.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri, gammaln, ndtr

from reweigh import metrics, stats, verdicts
from reweigh.streams import rng

VERDICTS = ("replicated", "better", "worse", "inconclusive")
ACCURACY = metrics.of("test_accuracy")  # what the tables speak of: rates depend on gap / τ and sd / τ alone
DRAWS = 50_000
NODES, WEIGHTS = np.polynomial.legendre.leggauss(100)

Rates = dict[str, float]


@dataclass(frozen=True)
class Case:
    """What is true when a published number is compared with n runs of ours.

    gap              our true mean minus the published one's
    sd               the true standard deviation of one run, theirs or ours
    n                our runs
    published_runs   the published number is the mean of so many runs; None: it is the true mean
    prints_sd        the paper prints an sd: the sample sd of its runs, or the true sd if its mean is the true one
    """

    gap: float
    sd: float
    n: int
    published_runs: int | None = None
    prints_sd: bool = False


def verdicts_on(published: np.ndarray | float, published_sd: np.ndarray | float, values: np.ndarray) -> np.ndarray:
    """`verdicts.verdict` on accuracies for many samples at once: values (draws, n), n at least 2; returns (draws,)."""
    n = values.shape[1]
    mean, error = values.mean(1), values.std(1, ddof=1) / math.sqrt(n)
    wide, narrow = (_t(n, level) * error for level in (stats.LEVEL, verdicts.EQUIVALENCE))
    tau = np.maximum(ACCURACY.tolerance, published_sd)
    reach = verdicts.REACH * tau
    within = (mean - narrow >= published - reach) & (mean + narrow <= published + reach)
    rules = [mean - wide > published + tau, mean + wide < published - tau, within]
    return np.select(rules, ["better", "worse", "replicated"], "inconclusive")


def simulate(case: Case, draws: int = DRAWS, seed: int = 0) -> Rates:
    """The share of each verdict over `draws` replications of a case."""
    random = rng(seed, "verdicts", repr(case))
    values = case.gap + case.sd * random.standard_normal((draws, case.n))
    published, published_sd = np.zeros(draws), np.full(draws, case.sd if case.prints_sd else 0.0)
    if case.published_runs:
        theirs = case.sd * random.standard_normal((draws, case.published_runs))
        published = theirs.mean(1)
        if case.prints_sd:
            published_sd = theirs.std(1, ddof=1)
    return shares(verdicts_on(published, published_sd, values))


def exact(case: Case) -> Rates:
    """The probability of each verdict, by integrals over the two sample sds."""
    runs = case.published_runs
    if runs and case.prints_sd:

        def given(printed: np.ndarray) -> np.ndarray:
            return np.stack([rates_given(case, ACCURACY.tolerance_of(0, sd)) for sd in printed], axis=1)

        probabilities = expect(given, case.sd, runs - 1, ACCURACY.tolerance)
    else:
        probabilities = rates_given(case, ACCURACY.tolerance_of(0, case.sd if case.prints_sd else None))
    return dict(zip(VERDICTS, probabilities.tolist(), strict=True))


def rates_given(case: Case, tau: float) -> np.ndarray:
    """Probabilities of VERDICTS, given the tolerance."""
    runs, root = case.published_runs, math.sqrt(case.n)
    wide, narrow = (_t(case.n, level) / root for level in (stats.LEVEL, verdicts.EQUIVALENCE))
    error = case.sd * math.sqrt(1 / case.n + (1 / runs if runs else 0.0))  # of our mean minus theirs
    reach = verdicts.REACH * tau

    def given(sd: np.ndarray) -> np.ndarray:
        edge = tau + wide * sd  # a difference beyond it is better or worse
        better, worse = ndtr((case.gap - edge) / error), ndtr((-case.gap - edge) / error)
        most = np.maximum(0.0, np.minimum(reach - narrow * sd, edge))  # a difference up to it is replicated
        replicated = ndtr((most - case.gap) / error) - ndtr((-most - case.gap) / error)
        return np.stack([replicated, better, worse, 1 - better - worse - replicated])

    return expect(given, case.sd, case.n - 1, (reach - tau) / (wide + narrow), reach / narrow)


def _t(n: int, level: float) -> float:
    return stats.t_quantile(n - 1, level)


def expect(function: Callable[[np.ndarray], np.ndarray], sd: float, degrees: int, *kinks: float) -> np.ndarray:
    """E[function(s)] for the sample sd s of normal values with the true `sd`; `function` is smooth except at `kinks`.

    `function` takes sds (k,) and returns (..., k). Gauss-Legendre quadrature between the kinks, weighted by the density
    of chi.
    """
    end = sd * math.sqrt(chdtri(degrees, 1e-15) / degrees)
    bounds = [0.0, *sorted(kink for kink in kinks if 0 < kink < end), end]
    total: np.ndarray | float = 0.0
    for low, high in itertools.pairwise(bounds):
        s = (low + high) / 2 + (high - low) / 2 * NODES
        x = s * math.sqrt(degrees) / sd
        log_density = (degrees - 1) * np.log(x) - x**2 / 2 - (degrees / 2 - 1) * math.log(2) - gammaln(degrees / 2)
        weight = WEIGHTS * (high - low) / 2 * np.exp(log_density) * math.sqrt(degrees) / sd
        total = total + function(s) @ weight
    return np.asarray(total)


@dataclass(frozen=True)
class Chance:
    """How many `better` and `worse` chance alone would give over the numbers of a scorecard.

    judged    numbers with an interval of ours, each of which could have been called so
    decided   how many are
    bound     how many are expected to be called so, at most, though each is within its tolerance of our true mean
    if_equal  how many, if each were our true mean
    """

    judged: int
    decided: int
    bound: float
    if_equal: float

    @property
    def text(self) -> str:
        """A sentence for readers."""
        if not self.judged:
            return "No published number has an interval of ours yet."
        return (
            f"{self.decided} of {self.judged} published numbers with an interval of ours are better or worse. If all "
            f"were within their tolerance of our true means, chance would call at most {self.bound:.2g} so on average "
            f"(each at the edge of its tolerance), and {_few(self.if_equal)} if they were our true means."
        )


def false_decisions(lines: pd.DataFrame) -> Chance:
    """What `better` and `worse` would be expected among a scorecard's lines if each number were replicated.

    The true sd of each line is taken to be the one found. The chance grows with the true gap, so that it is largest at
    the edge of the tolerance: 2.5 % on the side of the edge, and what little the other side adds.
    """
    plain = lines["verdict"].str.rpartition(": ")[2]
    judged = lines[(lines["kind"] == "number") & plain.isin(VERDICTS) & (lines["n"] >= 2)]
    bound = if_equal = 0.0
    for line in judged.to_dict("records"):
        tau = metrics.of(line["metric"]).tolerance_of(line["published"], line["published_sd"])
        at_edge, at_zero = (_wrong(gap, line["sd"], int(line["n"]), tau) for gap in (tau, 0.0))
        bound, if_equal = bound + at_edge, if_equal + at_zero
    return Chance(len(judged), int(plain[judged.index].isin(("better", "worse")).sum()), bound, if_equal)


def _wrong(gap: float, sd: float, n: int, tau: float) -> float:
    """How often n runs are called better or worse at a true gap within the tolerance."""
    if sd <= 1e-9 * max(tau, 1e-9):  # nothing varies: the interval is a point, the edge of the tolerance a coin toss
        return (1 - stats.LEVEL) / 2 if gap else 0.0
    _, better, worse, _ = rates_given(Case(gap, sd, n), tau)
    return float(better + worse)


def _few(count: float) -> str:
    return "fewer than 0.001" if count < 0.001 else f"{count:.2g}"


def shares(decided: np.ndarray) -> Rates:
    """The share of each verdict."""
    return {verdict: float((decided == verdict).mean()) for verdict in VERDICTS}
