"""What many settings say together: aggregate gains and probabilities of improvement, with bootstrap intervals.

Definitions are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS
2021) and of their library rliable, but for two things, both declared before any run:

* Runs that share a seed are a pair, and pairs stay pairs: what is averaged is a gain over a baseline, seed by seed, and
  a resample takes the runs of one seed together. (rliable averages scores, and resamples each side on its own.)
* A score that does not exist is no number. A run that diverged has the score −∞: it loses against any other, and ties
  with one that diverged too. It has no gain, so a setting with such a run is left out of an average, and named.

Each function takes a score or gain for each seed of each setting. The order in which these stand makes no difference:
resamples are drawn from a stream that is named after the setting, for seeds in ascending order. Ranks over settings are
in `ranks`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from reweigh.stats import LEVEL, BySeed, Summary, per_seed, summarise
from reweigh.streams import rng

Settings = Mapping[str, BySeed]  # what each seed has, by setting
Blocks = list[np.ndarray]  # of each setting an array (..., seeds)

TRIMMED = 0.25  # what an interquartile mean leaves out at either end
REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number over settings with the ends of its 95 % percentile interval, in the unit of what it is made of.

    runs: pairs of runs in it; settings: how many have any. Without a pair it is None, and with no setting that has two
    it has no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    settings: int
    runs: int


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the last axis: (..., n) -> (...), n at least 1.

    As rliable has it: of n sorted values the whole part of n/4 is left out at each end, and no value counts in part.

    >>> float(interquartile_mean(np.array([9.0, 1, 2, 3, 4, 5, 100])))
    4.6
    """
    return np.asarray(trim_mean(values, TRIMMED, axis=-1))


def share_of_wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2 over all pairs of a run of each side: (..., n) and (..., m) -> (...).

    This is the Mann-Whitney U statistic over n m. Two runs of −∞ tie.

    >>> float(share_of_wins(np.array([3.0, 1.0]), np.array([2.0, 1.0])))
    0.625
    """
    x, y = ours[..., :, None], theirs[..., None, :]
    return np.asarray(((x > y) + 0.5 * (x == y)).mean((-2, -1)))


def probability(ours: Blocks, theirs: Blocks) -> np.ndarray:
    """The mean over settings of `share_of_wins`; each setting counts once, however many runs it has."""
    return np.asarray(np.mean([share_of_wins(x, y) for x, y in zip(ours, theirs, strict=True)], axis=0))


def paired_gains(
    ours: Mapping[str, Mapping[int, float]], theirs: Mapping[str, Mapping[int, float]]
) -> tuple[dict[str, list[int]], dict[str, dict[int, float]]]:
    """The seeds that both sides have of each setting, and their gains; of settings with an infinite score no gains.

    >>> ours, theirs = {"a": {0: 3.0, 1: 2.0}, "b": {0: -math.inf}, "c": {0: 1.0}}, {"a": {1: 0.5}, "b": {0: 1.0}}
    >>> paired_gains(ours, theirs)
    ({'a': [1], 'b': [0]}, {'a': {1: 1.5}})
    """
    found = {name: sorted(set(of) & set(theirs.get(name, {}))) for name, of in ours.items()}
    shared = {name: seeds for name, seeds in found.items() if seeds}
    gains = {
        name: {seed: ours[name][seed] - theirs[name][seed] for seed in seeds}
        for name, seeds in shared.items()
        if all(math.isfinite(side[name][seed]) for side in (ours, theirs) for seed in seeds)
    }
    return shared, gains


def aggregate_gain(gains: Settings, replicates: int = REPLICATES, together: bool = False) -> Aggregate:
    """The interquartile mean of all gains (differences to a baseline on the same seed) of all settings.

    A setting in which any seed has no finite gain does not count: give the ones that are to. `together`: see
    `resamples`.
    """
    known = {setting: dict(of) for setting, of in gains.items() if of and all(map(_finite, of.values()))}
    blocks, draws = _blocks(known), resamples(known, replicates, together)
    return _aggregate(lambda of: interquartile_mean(np.concatenate(of, -1)), [blocks], draws)


def gain_by_seed(gains: Settings) -> Summary:
    """A second reading: each seed's interquartile mean of gains over the settings, and Student's interval over seeds.

    It holds whatever the runs of a seed share at different settings, and for few seeds, where a bootstrap is too sure
    (docs/verdicts.md has how much). A seed counts if it has a gain at each setting of `gains`.
    """
    known = [{seed: value for seed, value in of.items() if _finite(value)} for of in gains.values()]
    rows = ([place[seed] for place in known] for seed in per_seed(known))
    return summarise([float(interquartile_mean(np.array(row, float))) for row in rows])


def improvement(ours: Settings, theirs: Settings, replicates: int = REPLICATES, together: bool = False) -> Aggregate:
    """The probability that a run of X is better than one of Y, averaged over the settings that both have.

    Of each setting the seeds count that both have a score of; −∞ is one. With n seeds that all say the same it is 0
    or 1, and so are both ends of its interval: a bootstrap sees no more than there is.
    """
    common = {
        setting: [seed for seed in ours[setting] if _scored(ours[setting][seed]) and _scored(theirs[setting].get(seed))]
        for setting in ours
        if setting in theirs
    }
    sides = [{setting: {seed: of[setting][seed] for seed in seeds} for setting, seeds in common.items() if seeds}
             for of in (ours, theirs)]  # fmt: skip
    draws = resamples(sides[0], replicates, together)
    return _aggregate(probability, [_blocks(side) for side in sides], draws)


def resamples(settings: Settings, replicates: int = REPLICATES, together: bool = False) -> Blocks:
    """Of each setting, in the order of their names, the places of the seeds that each resample has: (replicates, n).

    Stratified: each setting is resampled on its own, with replacement, to the size that it has. That takes the seeds of
    two settings for independent. `together`: all settings take the same seeds in a resample, of those that they all
    have; for settings whose runs share what a seed decides, such as which examples are left out. Raises ValueError if
    they do not all have the same seeds.
    """
    seeds = [sorted(settings[name]) for name in sorted(settings)]
    if together and any(of != seeds[0] for of in seeds):
        raise ValueError("settings that are resampled together have the same seeds")
    names = ["all settings"] * len(seeds) if together else sorted(settings)
    return [
        rng(0, "bootstrap", name, len(of)).integers(0, len(of), (replicates, len(of)))
        for name, of in zip(names, seeds, strict=True)
    ]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The ends of the 95 % percentile interval of some bootstrap replicates."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _aggregate(statistic: Callable[..., np.ndarray], sides: list[Blocks], draws: Blocks) -> Aggregate:
    """`statistic` of the blocks of each side, and of their resamples; a pair's runs are drawn together."""
    sizes = [of.shape[1] for of in draws]
    if not sizes:
        return Aggregate(None, None, None, 0, 0)
    value = float(statistic(*sides))
    if max(sizes) < 2:
        return Aggregate(value, None, None, len(sizes), sum(sizes))
    drawn = [[block[places] for block, places in zip(blocks, draws, strict=True)] for blocks in sides]
    return Aggregate(value, *interval(statistic(*drawn)), len(sizes), sum(sizes))


def _blocks(settings: Settings) -> Blocks:
    """The values of each setting by ascending seed; settings by name, as `resamples` has them."""
    return [np.array([settings[name][seed] for seed in sorted(settings[name])], float) for name in sorted(settings)]


def _finite(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def _scored(value: float | None) -> bool:
    """Whether a run has a score, if only that of one that diverged."""
    return value is not None and not math.isnan(value)
