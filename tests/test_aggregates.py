"""Aggregates over settings against loops in plain Python, every resample that there can be, and scipy's statistic."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reweigh import aggregates
from reweigh.aggregates import Aggregate, aggregate_gain, improvement

By = dict[str, dict[int, float]]
ACCURACY = st.integers(0, 20).map(lambda right: right / 20)
SETTING = st.dictionaries(st.integers(0, 6), ACCURACY, min_size=1, max_size=5)
SCORES = st.dictionaries(st.sampled_from("abcdef"), SETTING, min_size=1, max_size=5)


def middle_half(values: Sequence[float]) -> float:
    """The interquartile mean in plain Python."""
    cut = len(values) // 4
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)


def pairs_won(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The probability of improvement in plain Python: all pairs of each setting, settings averaged."""
    shares = []
    for x, y in zip(ours, theirs, strict=True):
        won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y)
        shares.append(won / (len(x) * len(y)))
    return sum(shares) / len(shares)


def drawn(seed: int, sizes: Sequence[int], gain: float = 0.0) -> By:
    random = np.random.default_rng(seed)
    return {f"s{place}": dict(enumerate(random.normal(gain, 1, size).tolist())) for place, size in enumerate(sizes)}


def listed(of: By) -> list[list[float]]:
    return [[of[name][seed] for seed in sorted(of[name])] for name in sorted(of)]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_the_interquartile_mean_is_that_of_a_loop(values: list[float]) -> None:
    assert float(aggregates.interquartile_mean(np.array(values))) == pytest.approx(middle_half(values), abs=1e-12)


def test_the_interquartile_mean_by_hand_and_beside_other_means() -> None:
    values = np.array([[5.0, 1, 2, 3, 100, -50, 4, 6]])
    assert aggregates.interquartile_mean(values).tolist() == [3.5]  # of 2, 3, 4, 5
    assert values.mean() == 8.875
    for n in range(1, 4):  # too few to leave any out
        assert aggregates.interquartile_mean(values[0, :n]) == pytest.approx(values[0, :n].mean())


@given(SCORES)
def test_the_gain_is_that_of_all_runs_of_all_settings(gains: By) -> None:
    found = aggregate_gain(gains, 50)
    assert found.value == pytest.approx(middle_half([value for of in listed(gains) for value in of]), abs=1e-12)
    assert (found.settings, found.runs) == (len(gains), sum(map(len, gains.values())))
    if max(map(len, gains.values())) < 2:
        assert found.low is found.high is None
    else:
        assert found.low is not None and found.high is not None and found.low <= found.high


@given(SCORES, SCORES)
def test_the_probability_of_improvement_is_that_of_all_pairs(ours: By, theirs: By) -> None:
    found, back = improvement(ours, theirs, 50), improvement(theirs, ours, 50)
    common = {name: sorted(set(ours[name]) & set(theirs.get(name, {}))) for name in sorted(ours)}
    sides = [[[of[name][seed] for seed in seeds] for name, seeds in common.items() if seeds] for of in (ours, theirs)]
    if not sides[0]:
        assert found == back == Aggregate(None, None, None, 0, 0)
        return
    assert found.value == pytest.approx(pairs_won(*sides), abs=1e-12)
    assert found.value is not None and back.value is not None
    assert found.value + back.value == pytest.approx(1, abs=1e-12)
    if found.low is not None and found.high is not None:  # the interval is mirrored too
        assert (back.low, back.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_wins_is_the_mann_whitney_statistic(seed: int) -> None:
    """Against scipy's U over n m, as rliable has it, with ties and sides of different size."""
    x, y = (np.random.default_rng((seed, side)).integers(0, 6, 5 + side) / 6 for side in (0, 1))
    expected = scipy_stats.mannwhitneyu(x, y, alternative="greater").statistic / 30
    assert aggregates.share_of_wins(x, y) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(SCORES, SCORES, st.randoms(use_true_random=False), st.floats(-2, 2).map(lambda by: round(by, 2)))
def test_neither_order_nor_a_constant_matters(ours: By, theirs: By, dice: random.Random, by: float) -> None:
    def shuffled(of: By) -> By:
        names = dice.sample(sorted(of), len(of))
        return {name: {seed: of[name][seed] for seed in dice.sample(sorted(of[name]), len(of[name]))} for name in names}

    def moved(of: By) -> By:
        return {name: {seed: 2 * value + by for seed, value in values.items()} for name, values in of.items()}

    assert improvement(shuffled(ours), shuffled(theirs), 99) == improvement(ours, theirs, 99)
    assert aggregate_gain(shuffled(ours), 99) == aggregate_gain(ours, 99)
    assert improvement(moved(ours), moved(theirs), 99) == improvement(ours, theirs, 99)  # of any rising function


# --- intervals ---


def exact_distribution(settings: By, statistic: Callable[[list[list[float]]], float]) -> np.ndarray:
    """The statistic of every resample of the seeds of each setting, sorted: Π n^n of them, all equally likely."""
    choices = [list(itertools.product(values, repeat=len(values))) for values in listed(settings)]
    return np.sort([statistic([list(one) for one in chosen]) for chosen in itertools.product(*choices)])


def check_quantile(found: float, level: float, exact: np.ndarray, replicates: int) -> None:
    """That the exact distribution has the level there, within five standard errors of so many replicates."""
    reach = 5 * math.sqrt(level * (1 - level) / replicates)
    below, up_to = (exact < found - 1e-9).mean(), (exact <= found + 1e-9).mean()
    assert below <= level + reach and up_to >= level - reach


def test_the_interval_of_a_gain_is_that_of_every_resample() -> None:
    gains = drawn(3, (3, 3))
    exact = exact_distribution(gains, lambda blocks: middle_half([*itertools.chain(*blocks)]))
    assert len(exact) == 27**2
    found = aggregate_gain(gains, 20_000)
    assert found.low is not None and found.high is not None
    for end, level in ((found.low, 0.025), (found.high, 0.975)):
        check_quantile(end, level, exact, 20_000)
        assert np.abs(exact - end).min() < 1e-9  # it is one of the values that there can be


def test_the_interval_of_a_probability_keeps_pairs_together() -> None:
    """Every resample of pairs; if sides were resampled apart, the interval would be another one."""
    ours, theirs = drawn(5, (3, 3), gain=0.3), drawn(6, (3, 3))
    pairs: dict[str, dict[int, float]] = {name: {seed: float(seed) for seed in of} for name, of in ours.items()}
    x, y = listed(ours), listed(theirs)

    def of_places(blocks: list[list[float]]) -> float:
        sides = [[[of[k][int(seed)] for seed in block] for k, block in enumerate(blocks)] for of in (x, y)]
        return pairs_won(*sides)

    exact = exact_distribution(pairs, of_places)
    found = improvement(ours, theirs, 20_000)
    assert found.low is not None and found.high is not None
    check_quantile(found.low, 0.025, exact, 20_000)
    check_quantile(found.high, 0.975, exact, 20_000)


@pytest.mark.parametrize("together", [False, True])
def test_intervals_are_those_of_a_second_implementation(together: bool) -> None:
    """The same draws, run by run in plain Python, and numpy's percentiles of what comes out."""
    ours, theirs = drawn(1, (5, 5, 5), gain=0.4), drawn(2, (5, 5, 5))
    places = aggregates.resamples(ours, 300, together)
    gains = {name: {seed: of[seed] - theirs[name][seed] for seed in of} for name, of in ours.items()}
    means, won = [], []
    for replicate in range(300):
        rows = [draw[replicate].tolist() for draw in places]
        means.append(middle_half([listed(gains)[k][seed] for k, row in enumerate(rows) for seed in row]))
        won.append(
            pairs_won(*([[listed(of)[k][i] for i in row] for k, row in enumerate(rows)] for of in (ours, theirs)))
        )
    for found, values in ((aggregate_gain(gains, 300, together), means),
                          (improvement(ours, theirs, 300, together), won)):  # fmt: skip
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-12)


def test_settings_are_resampled_apart_or_together() -> None:
    gains = drawn(0, (5,) * 4)
    apart, together = (aggregates.resamples(gains, 2000, one) for one in (False, True))
    assert all((block == together[0]).all() for block in together)
    assert abs(np.corrcoef(apart[0].mean(1), apart[1].mean(1))[0, 1]) < 0.1
    for block in (*apart, *together):
        assert block.shape == (2000, 5) and set(block.ravel()) == set(range(5))
        assert np.bincount(block.ravel()) / block.size == pytest.approx([0.2] * 5, abs=0.02)
    with pytest.raises(ValueError, match="the same seeds"):
        aggregates.resamples(gains | {"other": {0: 1.0, 9: 2.0}}, together=True)


def test_together_is_wider_where_seeds_decide_for_all_settings() -> None:
    luck = np.random.default_rng(0).normal(0, 1, 5)
    gains = {f"s{k}": dict(enumerate((luck + 0.01 * k).tolist())) for k in range(6)}
    apart, together = (aggregate_gain(gains, together=one) for one in (False, True))
    assert apart.low and apart.high and together.low and together.high
    assert together.value == apart.value
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_the_same_input_gives_the_same_interval_and_more_replicates_another() -> None:
    gains = drawn(7, (5, 10, 3))
    assert aggregate_gain(gains) == aggregate_gain(gains)
    assert aggregate_gain(gains) != aggregate_gain(gains, 1999)


# --- runs without a score ---


def test_what_diverged_loses_and_has_no_gain() -> None:
    lost = -math.inf
    ours, theirs = {"s": {0: lost, 1: 0.9}}, {"s": {0: 0.5, 1: lost}}
    assert improvement(ours, theirs).value == 0.625  # of four pairs two are won, one is lost, one ties
    assert improvement({"s": {0: lost}}, {"s": {0: lost}}).value == 0.5
    assert improvement({"s": {0: lost}}, {"s": {0: 0.1}}).value == 0
    gains = {"s": {0: lost, 1: 0.4}, "t": {0: 0.1, 1: 0.3}, "u": {0: 0.1, 1: math.nan}, "v": {0: None, 1: 1.0}, "w": {}}
    found = aggregate_gain(gains)
    assert (found.value, found.settings, found.runs) == (pytest.approx(0.2), 1, 2)


def test_a_run_without_any_score_is_no_pair() -> None:
    found = improvement({"s": {0: 0.9, 1: 0.9, 2: math.nan}}, {"s": {0: 0.5, 2: 0.99, 1: 0.95}})
    assert (found.runs, found.value) == (2, 0.5)
    assert improvement({"s": {0: 0.9}}, {"t": {0: 0.9}}) == aggregate_gain({}) == Aggregate(None, None, None, 0, 0)
    single = improvement({"s": {0: 0.9}}, {"s": {0: 0.5}})
    assert single == Aggregate(1.0, None, None, 1, 1)
