"""How often intervals of a mean of shares contain the true mean, by simulation: the rule's and what it might be.

The share that a run gets right is drawn from a beta distribution, or is a high one that now and then collapses. Both
are skewed where the mean is close to an end, as accuracies are.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit

from reweigh import stats
from reweigh.scorecard.text import percent, table
from reweigh.streams import rng

RUNS = (2, 3, 5, 10)
BETAS = ((0.99, 0.005), (0.98, 0.02), (0.95, 0.05), (0.90, 0.01), (0.90, 0.10), (0.70, 0.20))  # mean and sd of a run
COLLAPSE = (0.97, 0.50, 0.1)  # a run's share, that of one which collapses, and how many do
DRAWS = 10_000
Ends = tuple[np.ndarray, np.ndarray]
CAPTION = (
    "Intervals of a mean of shares, simulated. First line: how often they contain the true mean, in %; second line: "
    "their median width, in points. Student's cut at 0 and 1 / the rule / Student's on the logit scale in the place of "
    "Wilson's / Wilson's everywhere"
)


def cut(mean: np.ndarray, half: np.ndarray) -> Ends:
    """Student's interval as far as it lies between 0 and 1."""
    return np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)


def rule(mean: np.ndarray, half: np.ndarray) -> Ends:
    """The interval as it is declared: `stats.inside`."""
    low, high = zip(*(stats.inside(*one, 0.0, 1.0) for one in zip(mean, half, strict=True)), strict=True)
    return np.array(low), np.array(high)


def logits(mean: np.ndarray, half: np.ndarray) -> Ends:
    """Student's where it lies inside, else Student's of the mean's logit by the delta method."""
    low, high = cut(mean, half)
    kept, whole = (mean - half >= 0) & (mean + half <= 1), mean * (1 - mean) == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = half / (mean * (1 - mean))
        ends = expit(logit(mean) - reach), expit(logit(mean) + reach)
    return np.where(kept | whole, low, ends[0]), np.where(kept | whole, high, ends[1])


def everywhere(mean: np.ndarray, half: np.ndarray) -> Ends:
    """Wilson's interval whether or not Student's leaves 0 to 1."""
    variance = mean * (1 - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = half**2 / variance
    middle, reach = (mean + excess / 2) / (1 + excess), np.sqrt(half**2 + excess**2 / 4) / (1 + excess)
    low, high = cut(mean, half)
    return np.where(variance > 0, middle - reach, low), np.where(variance > 0, middle + reach, high)


KINDS: tuple[Callable[[np.ndarray, np.ndarray], Ends], ...] = (cut, rule, logits, everywhere)


def beta(mean: float, sd: float, n: int, draws: int = DRAWS) -> np.ndarray:
    """Shares (draws, n) of the beta distribution of that mean and sd."""
    total = mean * (1 - mean) / sd**2 - 1
    return rng(0, "coverage", str(mean), str(sd), n).beta(mean * total, (1 - mean) * total, (draws, n))


def collapsing(high: float, low: float, share: float, n: int, draws: int = DRAWS) -> np.ndarray:
    """Shares (draws, n) that scatter by a point around `high`, of which a share collapses to `low`."""
    random = rng(0, "coverage of collapses", n)
    level = np.where(random.random((draws, n)) < share, low, high)
    return np.asarray(level + 0.01 * np.clip(random.standard_normal((draws, n)), -3, 3))


def simulate(values: np.ndarray, true: float) -> tuple[list[float], list[float]]:
    """Of each of KINDS how often its interval contains the true mean, and its median width; values (draws, n)."""
    n = values.shape[1]
    mean, half = values.mean(1), stats.t_quantile(n - 1) * values.std(1, ddof=1) / math.sqrt(n)
    found = [kind(mean, half) for kind in KINDS]
    held = [float(((low <= true) & (true <= high)).mean()) for low, high in found]
    return held, [float(np.median(high - low)) for low, high in found]


def markdown() -> str:
    """The table of docs/verdicts.md."""
    rows = []
    for mean, sd in BETAS:
        what = f"mean {100 * mean:g}, sd of a run {100 * sd:g} points"
        rows += _lines(what, [simulate(beta(mean, sd, n), mean) for n in RUNS])
    high, low, share = COLLAPSE
    true = share * low + (1 - share) * high
    what = f"1 run of {1 / share:g} collapses from {100 * high:g} to {100 * low:g}"
    rows += _lines(what, [simulate(collapsing(high, low, share, n), true) for n in RUNS])
    return table(["what is true", *(f"n = {n}" for n in RUNS)], rows)


def _lines(what: str, found: list[tuple[list[float], list[float]]]) -> list[list[str]]:
    held = [" / ".join(map(percent, coverages)) for coverages, _ in found]
    return [[what, *held], ["width", *(" / ".join(f"{100 * width:.1f}" for width in widths) for _, widths in found)]]
