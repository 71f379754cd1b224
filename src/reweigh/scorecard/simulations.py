"""How often claims are decided wrongly where values are not what a t test takes them for: by simulation.

Places share seeds, accuracies have steps, and spreads are compared by the distances of a few runs from their median.
"""

import math

import numpy as np

from reweigh import stats
from reweigh.scorecard.rates import DRAWS
from reweigh.streams import rng

TOGETHER = 0.75  # how much TDR minus plain training correlates over seeds between ratios of MNIST 4 against 9


def simulate_spreads(n: int, settings: int, correlation: float, ratio: float = 1.0, draws: int = 3000) -> float:
    """How often `smaller_spread` decides between two methods, the second of which spreads `ratio` times as far.

    Normal values; a method's correlate so much between settings, because these share seeds.
    """
    sides = correlated(("spreads", n, settings, str(correlation)), (2, draws, settings, n), correlation)
    cells = [[[dict(enumerate(cell)) for cell in draw] for draw in side] for side in (sides[0], ratio * sides[1])]
    tests = (stats.spread_ratio(ours, others) for ours, others in zip(*cells, strict=True))
    return sum((stats.two_sided(test.p_for, test.p_against) or 0.0) < stats.ALPHA for test in tests) / draws


def simulate_averages(n: int, places: int, correlation: float, by_seed: bool = True, draws: int = DRAWS) -> float:
    """How often `greater_on_average` decides where there is no difference at any place; these share seeds.

    `by_seed`: each seed counts once, as the rule has it. Otherwise one variance is pooled over places that are taken as
    independent: what it would be without that.
    """
    differences = correlated(("averages", n, places, str(correlation)), (draws, places, n), correlation)
    values = differences.mean(1) if by_seed else differences.reshape(draws, -1)
    degrees = n - 1 if by_seed else places * (n - 1)
    sd = values.std(1, ddof=1) if by_seed else np.sqrt(differences.var(2, ddof=1).mean(1))
    t = values.mean(1) / (sd / math.sqrt(values.shape[1]))
    return float((abs(t) > stats.t_quantile(degrees)).mean())


def simulate_excess(n: int, gain: float, sd: float, shared: float, draws: int = DRAWS) -> list[str]:
    """The verdicts of `gains_more` where one of two gains is larger by `gain`, from runs of four methods of sd `sd`.

    So much of their variance the four runs of a seed share.
    """
    first, second, third, fourth = sd * correlated(("excess", n, str(shared)), (draws, 4, n), shared).swapaxes(0, 1)
    found = []
    for excess in (first - second) - (third - fourth) + gain:
        sides = stats.claim_p([stats.above(excess, 0.0)])
        found.append(stats.claim_verdict(*sides, stats.two_sided(*sides)))
    return found


def simulate_quartiles(n: int, draws: int = DRAWS) -> float:
    """How often the quartiles of n rounds of the bench have the true median between them; rounds are independent."""
    low, high = np.quantile(rng(0, "quartiles", n).standard_normal((draws, n)), [0.25, 0.75], axis=1)
    return float(((low < 0) & (high > 0)).mean())


def simulate_ties(n: int, sd: float, tests: int = 1, floor: bool = True, draws: int = DRAWS) -> float:
    """How often `greater` decides without a difference where both sides are known in whole steps and scatter by `sd`.

    Its p is the smallest of `tests` p values. Each side's true level lies anywhere within a step, the same for both.
    `floor`: an sd counts as that of a rounding error at least, as the rule has it; otherwise equal differences other
    than 0 decide.
    """
    random = rng(0, "ties", n, str(sd))
    level = random.uniform(-0.5, 0.5, (draws, 1))
    sides = np.round(level + sd * random.standard_normal((2, draws, n)))
    differences = sides[0] - sides[1]
    error = np.maximum(differences.std(1, ddof=1), stats.least_sd(math.sqrt(2)) if floor else 0.0) / math.sqrt(n)
    return float((abs(differences.mean(1)) > stats.t_quantile(n - 1, 1 - stats.ALPHA / tests) * error).mean())


def correlated(names: tuple[str | int, ...], shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Standard normal values (..., places, seeds) that correlate so much between places."""
    random = rng(0, *names)
    shared, own = random.standard_normal((*shape[:-2], 1, shape[-1])), random.standard_normal(shape)
    return np.asarray(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
