"""What n seeds can decide where many methods meet on many settings: by simulation, before any run.

Runs are normal; gains are differences to a baseline on the same seeds, so that those of one setting share its luck and
correlate by 1/2. Gains and sds are in points, rates are fractions. The rules are those of `stats`, `aggregates` and
`ranks`; where they are applied to many draws at once, tests compare that with the functions themselves.
"""

import itertools
import math

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from reweigh import aggregates, ranks, stats
from reweigh.scorecard.simulations import correlated
from reweigh.streams import rng

DRAWS = 20_000  # of one setting
FEW_DRAWS = 2000  # of all settings
DRAWN_INTERVALS, REPLICATES = 500, 400  # of intervals, and of their bootstrap


def rejected(p: np.ndarray) -> np.ndarray:
    """Which p values Holm's correction over the last axis leaves below 0.05: (..., tests) -> the same."""
    order = p.argsort(-1)
    factors = np.arange(p.shape[-1], 0, -1)
    decided = np.minimum.accumulate(np.take_along_axis(p, order, -1) * factors < stats.ALPHA, -1)
    found = np.empty(p.shape, bool)
    np.put_along_axis(found, order, decided, -1)
    return found


def two_sided_p(differences: np.ndarray) -> np.ndarray:
    """Of the paired t test of differences (..., seeds): (...)."""
    n = differences.shape[-1]
    t = differences.mean(-1) / (differences.std(-1, ddof=1) / math.sqrt(n))
    return np.asarray(2 * stdtr(n - 1, -abs(t)))


# --- gains at single settings ----------------------------------------------------------------------------------------


def called(n: int, methods: int, sd: float, gains: tuple[float, ...] = (), settings: int = 1) -> tuple[float, float]:
    """Paired t tests of all methods but the baseline, Holm over all of them at all settings: two rates.

    The first methods have true gains at each setting, the others none. First: how often any of the others is called
    better or worse at any setting. Second: how often the first method is called better, at one setting (NaN without
    gains). sd: of one difference.
    """
    draws = DRAWS // settings
    runs = rng(0, "called", n, methods, settings).standard_normal((draws, settings, methods, n))
    differences = sd / math.sqrt(2) * (runs[:, :, 1:] - runs[:, :, :1])
    differences[:, :, : len(gains)] += np.array(gains)[:, None]
    p = two_sided_p(differences)
    decided = rejected(p.reshape(draws, -1)).reshape(p.shape)
    wrong = decided[:, :, len(gains) :].any((1, 2)).mean()
    right = (decided[:, :, 0] & (differences[:, :, 0].mean(-1) > 0)).mean() if gains else math.nan
    return float(wrong), float(right)


def anywhere(rate: float, settings: int) -> float:
    """How often a wrong decision is made at any of some settings with luck of their own, each at such a rate."""
    return float(1 - (1 - rate) ** settings)


# --- aggregates over settings ----------------------------------------------------------------------------------------


def true_gains(settings: int, spread: float) -> np.ndarray:
    """True gains at the settings, with mean 0: evenly spaced quantiles of a normal distribution of that sd."""
    return np.asarray(spread * ndtri((np.arange(settings) + 0.5) / settings))


def coverage(
    n: int, settings: int, spread: float, correlation: float = 0.0, together: bool = False, sd: float = 0.5
) -> tuple[float, float]:
    """How often the bootstrap interval of an interquartile mean of gains has the true value in it; its mean width.

    spread: sd of the true gains over settings; correlation: of gains on the same seed at two settings; `together`: as
    `aggregates.resamples` has it. The true value is that of infinitely many seeds.
    """
    true = true_gains(settings, spread)[:, None]
    gains = true + sd * correlated(("coverage", n, settings), (DRAWN_INTERVALS, settings, n), correlation)
    whole = (true + sd * ndtri((np.arange(2000) + 0.5) / 2000)).ravel()
    target = float(aggregates.interquartile_mean(whole))
    places = _places(n, settings, together)
    ends = np.array([aggregates.interval(_resampled(draw, places)) for draw in gains])
    within = (ends[:, 0] <= target) & (target <= ends[:, 1])
    return float(within.mean()), float((ends[:, 1] - ends[:, 0]).mean())


def by_seed_coverage(n: int, settings: int, spread: float, correlation: float = 0.0, sd: float = 0.5) -> float:
    """The same of `aggregates.gain_by_seed`, for whom the true value is the mean over infinitely many seeds."""
    true = true_gains(settings, spread)[:, None]
    luck = correlated(("coverage", n, settings), (DRAWN_INTERVALS * 10, settings, n), correlation)
    middle = aggregates.interquartile_mean((true + sd * luck).swapaxes(1, 2))  # draws, seeds
    half = stats.t_quantile(n - 1) * middle.std(1, ddof=1) / math.sqrt(n)
    return float((abs(middle.mean(1) - middle.mean()) <= half).mean())


def improvement_coverage(n: int, settings: int, gain: float, correlation: float = 0.0, together: bool = False) -> float:
    """How often the interval of a probability of improvement has the true one in it, at a gain of so many sds.

    The gain is in sds of a difference, the same at all settings. correlation: of a method's runs on the same seed at
    two settings.
    """
    runs = correlated(("improvement", n, settings), (DRAWN_INTERVALS, 2, settings, n), correlation)
    ours, theirs = runs[:, 0] + gain * math.sqrt(2), runs[:, 1]
    places, target = _places(n, settings, together), float(ndtr(gain))
    found = 0
    for x, y in zip(ours, theirs, strict=True):
        low, high = aggregates.interval(np.mean([_share(*pair) for pair in zip(x, y, places, strict=True)], axis=0))
        found += low <= target <= high
    return found / len(ours)


def _share(ours: np.ndarray, theirs: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`aggregates.share_of_wins` of each resample of two sides of one setting: (n,), (n,), (replicates, n)."""
    n = len(ours)
    times = (places[:, :, None] == np.arange(n)).sum(1, dtype=float)  # how often a resample has each seed
    won = np.where(ours[:, None] == theirs, 0.5, ours[:, None] > theirs)
    return np.asarray(((times @ won) * times).sum(1) / n**2)


def _places(n: int, settings: int, together: bool) -> list[np.ndarray]:
    names = {f"setting {place:02}": dict.fromkeys(range(n), 0.0) for place in range(settings)}
    return aggregates.resamples(names, REPLICATES, together)


def _resampled(gains: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """The interquartile mean of each resample of gains (settings, seeds)."""
    drawn = [values[of] for values, of in zip(gains, places, strict=True)]
    return aggregates.interquartile_mean(np.concatenate(drawn, -1))


# --- ranks over settings ---------------------------------------------------------------------------------------------


def signed_rank_p(differences: np.ndarray) -> np.ndarray:
    """Exact two-sided p of signed ranks of differences (..., blocks) of which none tie: (...)."""
    blocks = differences.shape[-1]
    counts = np.ones(1)
    for rank in range(1, blocks + 1):  # how many of the 2^blocks signs give each sum of positive ranks
        counts = np.convolve(counts, [1, *[0] * (rank - 1), 1])
    up_to = counts.cumsum() / 2**blocks
    sums = ((abs(differences).argsort(-1).argsort(-1) + 1) * (differences > 0)).sum(-1)
    lower = np.minimum(sums, blocks * (blocks + 1) // 2 - sums)
    return np.asarray(np.minimum(1.0, 2 * up_to[lower]))


def ranked(
    n: int, settings: int, methods: int, gain: float = 0.0, varies: float = 0.0, sd: float = 0.5, by_seed: bool = False
) -> dict[str, float]:
    """How often tests of ranks decide, where one method is better than the others by `gain` at each setting.

    varies: sd of what a method is worth at a setting beside that. `by_seed`: blocks are settings and seeds. `friedman`,
    `iman_davenport`: they reject; `nemenyi`, `signed_ranks`: any two of the others are told apart; with `_best`: the
    better method is called better than another one, averaged over these.
    """
    names = ("ranked", n, settings, methods, str(gain), str(varies))
    random, draws = rng(0, *names), FEW_DRAWS // (5 if by_seed else 1)
    worth = varies * random.standard_normal((draws, settings, methods))
    runs = worth[..., None] + sd / math.sqrt(2) * random.standard_normal((draws, settings, methods, n))
    runs[:, :, 0] += gain
    scores = runs.swapaxes(2, 3).reshape(draws, -1, methods) if by_seed else runs.mean(-1)
    return _decided(scores)


def _decided(scores: np.ndarray) -> dict[str, float]:
    """The rates of `ranked`, of scores (draws, blocks, methods)."""
    blocks, methods = scores.shape[1:]
    found = ranks.ranks(scores)
    each = [ranks.friedman(draw) for draw in found]
    one, other = (np.array(side) for side in zip(*itertools.combinations(range(methods), 2), strict=True))
    apart = found.mean(1)[:, other] - found.mean(1)[:, one]  # above 0 where `one` is better
    differences = scores[:, :, one] - scores[:, :, other]
    nemenyi = abs(apart) > ranks.critical_difference(methods, blocks)
    signed = rejected(signed_rank_p(differences.swapaxes(1, 2)))
    best = one == 0
    return {
        "friedman": float(np.mean([(test.p or 0.0) < stats.ALPHA for test in each])),
        "iman_davenport": float(np.mean([(test.p_f or 0.0) < stats.ALPHA for test in each])),
        "nemenyi": float(nemenyi[:, ~best].any(1).mean()),
        "signed_ranks": float(signed[:, ~best].any(1).mean()),
        "nemenyi_best": float((nemenyi & (apart > 0))[:, best].mean()),
        "signed_ranks_best": float((signed & (differences.mean(1) > 0))[:, best].mean()),
    }


# --- the best one of many --------------------------------------------------------------------------------------------


def winner(n: int, methods: int, spread: float, sd: float, settings: int = 1) -> dict[str, float]:
    """The method with the largest mean gain: how often it is the best, by how much it is overstated (points).

    True gains over the baseline are normal with sd `spread`, the same at each setting; sd: of one difference.
    `covered`: how often the 95 % t interval of its gains (of seeds, each averaged over settings) has its true gain.
    """
    random = rng(0, "winner", n, methods, settings, str(spread), str(sd))
    true = spread * random.standard_normal((FEW_DRAWS, methods - 1))
    runs = sd / math.sqrt(2) * random.standard_normal((FEW_DRAWS, methods, settings, n)).mean(2)
    gains = true[..., None] + runs[:, 1:] - runs[:, :1]
    means, draws = gains.mean(-1), np.arange(FEW_DRAWS)
    first = means.argmax(1)
    over = means[draws, first] - true[draws, first]
    half = stats.t_quantile(n - 1) * gains[draws, first].std(-1, ddof=1) / math.sqrt(n)
    best = (true[draws, first] == true.max(1)).mean()
    return {"best": float(best), "overstated": float(over.mean()), "covered": float((abs(over) <= half).mean())}
