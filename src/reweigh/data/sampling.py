"""Which examples an epoch trains on, and in which order: pure functions of the labels and a generator.

uniform            every example once
effective-number   as many draws with replacement, probability ∝ 1/E_y, E_c = (1 − β^{n_c})/(1 − β) (Cui et al., 2019)
class-aware        n_max·C draws: classes in turn, 4 examples each, of a shuffled list of the class (Kang et al., 2020)
"""

import numpy as np

from reweigh.errors import ConfigError

SAMPLINGS = ("uniform", "effective-number", "class-aware")
BETA = 0.9999  # of effective numbers; the value of the class-balanced weights that go with it
AT_ONCE = 4  # examples that a class gives when it is its turn


def epoch_size(sampling: str, labels: np.ndarray) -> int:
    """How many examples an epoch has. labels int64 (N,). Raises ConfigError for a sampling that does not exist.

    >>> epoch_size("class-aware", np.array([0, 0, 0, 1]))  # the largest class, times the classes
    6
    """
    if sampling not in SAMPLINGS:
        raise ConfigError(f"no sampling {sampling!r}; use one of: {', '.join(SAMPLINGS)}")
    if sampling != "class-aware" or not len(labels):
        return len(labels)
    counts = np.bincount(labels)
    return int(counts.max() * np.count_nonzero(counts))


def check_length(sampling: str, labels: np.ndarray, before: int) -> None:
    """Raise ConfigError if an epoch of these labels (N,) has not as many examples as one had before."""
    if (now := epoch_size(sampling, labels)) != before:
        raise ConfigError(
            f"{len(labels)} members make an epoch of {now} examples by {sampling} sampling; it had {before}, and must "
            "keep its length"
        )


def order(sampling: str, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The examples of an epoch, one after the other. labels int64 (N,) -> int64 (epoch_size,)."""
    if sampling == "effective-number":
        effective = (1 - BETA ** np.bincount(labels).astype(np.float64)) / (1 - BETA)
        odds = 1 / effective[labels]
        return generator.choice(len(labels), len(labels), p=odds / odds.sum())
    if sampling == "class-aware":
        return _class_aware(labels, generator)
    return generator.permutation(len(labels))


def _class_aware(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every class is drawn equally often; the list of a small class is walked through again and again."""
    members = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    size = max(map(len, members))
    rounds = -(-size // AT_ONCE)
    lists = np.stack([_walk(member, rounds * AT_ONCE, generator) for member in members])  # (C, rounds · 4)
    turns = np.stack([generator.permutation(len(members)) for _ in range(rounds)])  # (rounds, C)
    drawn = lists.reshape(len(members), rounds, AT_ONCE)[turns, np.arange(rounds)[:, None]]
    return drawn.reshape(-1)[: size * len(members)]


def _walk(member: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """The first `length` of an endless walk through shuffled copies of a list."""
    return np.concatenate([generator.permutation(member) for _ in range(-(-length // len(member)))])[:length]
