"""How often claims about orders, trade-offs and what is logged on the way are decided, by simulation.

Values are normal; each function draws runs, gives them to the rule itself, and returns the share that it decides.
"""

import math

import numpy as np

from reweigh import stats
from reweigh.analysis.traces import correlation_with_size, total_variation
from reweigh.scorecard.order_tests import page
from reweigh.scorecard.simulations import correlated
from reweigh.scorecard.trade_off_tests import gains, nearer
from reweigh.stats import Comparison
from reweigh.streams import rng

DRAWS = 2000


def decided(found: list[Comparison], holds: bool = False) -> float:
    """The share of comparisons that a claim of one place is decided by, alone; `holds`: that are for it."""
    sides = [stats.claim_p([one]) for one in found]
    words = [stats.claim_verdict(*side, stats.two_sided(*side)) for side in sides]
    return sum(word == "holds" or (word == "fails" and not holds) for word in words) / len(words)


def simulate_orders(n: int, columns: int, gain: float, correlation: float, draws: int = DRAWS) -> list[Comparison]:
    """`ordered` over so many methods, each `gain` sds of a run better than the one before; a seed's go together."""
    scores = correlated(("orders", n, columns, str(correlation)), (draws, columns, n), correlation)
    return [page((draw + gain * np.arange(columns)[:, None]).T) for draw in scores]


def simulate_trade_offs(
    n: int, points: int, gain: float, sds: tuple[float, float], draws: int = DRAWS
) -> list[Comparison]:
    """`dominates` between two curves of so many points, the first of which is `gain` better in both metrics.

    Losses go from (.05, .35) to (.25, .05) along a quarter of an ellipse. Each metric of a run scatters by its side's
    of `sds`, half of its variance shared by the points of a seed.
    """
    angle = np.linspace(0, math.pi / 2, points)
    curve = np.stack([0.25 - 0.2 * np.cos(angle), 0.35 - 0.3 * np.sin(angle)])[:, :, None]  # (2, points, 1)
    noise = correlated(("trade-offs", n, points), (draws, 2, 2, points, n), 0.5)  # side, metric, point, seed
    found = []
    for draw in curve + np.array(sds)[:, None, None, None] * noise:
        draw[0] -= gain
        ours, theirs = draw.transpose(0, 3, 2, 1)  # side, seed, point, metric
        found.append(stats.above(gains(ours, theirs)[0], 0.0))
    return found


def simulate_walks(n: int, entries: int, ratio: float, draws: int = DRAWS) -> list[Comparison]:
    """`varies_less` between values that walk at random for 100 epochs, the second `ratio` times as fast."""
    walks = rng(0, "walks", n, entries).standard_normal((draws, 2, n, 100, entries)).cumsum(3)
    found = []
    for ours, theirs in walks:
        first, second = ([total_variation(run) for run in side] for side in (ours, ratio * theirs))
        found.append(stats.opposite(stats.cost_ratio(first, second)))
    return found


def simulate_tracking(n: int, train: float, sd: float, draws: int = DRAWS) -> list[Comparison]:
    """`tracks_test` where training is `train` off the test set, and validation by its scatter alone, with that sd."""
    parts = sd * rng(0, "tracking", n).standard_normal((draws, n))
    return [stats.above([nearer(-train, part, 0.0) for part in draw], 0.0) for draw in parts]


def simulate_frequencies(n: int, classes: int, slope: float, margin: float, draws: int = DRAWS) -> list[Comparison]:
    """`follows_frequency` where what is learned falls by `slope` sds from class to class; 0: in any order."""
    values = rng(0, "frequencies", n, classes).standard_normal((draws, n, classes)) - slope * np.arange(classes)
    step = 12 / (classes**3 - classes)
    return [
        stats.opposite(stats.within([correlation_with_size(run) for run in draw], margin, "", step)) for draw in values
    ]
