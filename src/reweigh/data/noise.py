"""Label noise: pure functions `(labels, classes, rate, generator) -> new labels`, and what came of it.

Labels are int64 `(N,)`, counted from 0; `classes` are their names, by which CIFAR-10 and CIFAR-100 are known; `rate` is
from 0 to below 1. With numpy's old generator, `RandomState(seed)`, they draw what the published code draws.

symmetric           rate·n_c examples of each class get one of the other classes, each equally likely
asymmetric          CIFAR-10: rate·n_c of five classes get the class they look like; CIFAR-100: with probability `rate`
                    a label moves on to the next in its block of five consecutive ones, the last to the first
asymmetric-ported   CIFAR-10: the same, but step by step on labels that the steps before have changed, so that part of
                    the noise is undone; this is what the PyTorch ports of the noise of Wang et al. (2019) do
asymmetric-pairs    CIFAR-100: two labels of each block, drawn at random, are swapped with probability `rate`; the noise
                    of the original code of Wang et al. (2019), which draws the pairs from numpy's global generator and
                    the swaps from another one, whose seed is 0 whatever the first one's
heteroskedastic     classes of a group are taken for one another, all others stay clean: see
                    `reweigh.data.heteroskedastic_noise`, as for the next
agnostic            each label, with probability `rate`, is one of the other classes
instance            an image decides which class it is taken for, and how readily: see `reweigh.data.instance_noise`
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from reweigh.data.groups import members, part_of
from reweigh.data.heteroskedastic_noise import agnostic, heteroskedastic, redrawn
from reweigh.data.instance_noise import Generator, instance
from reweigh.data.noise_recipe import HETEROSKEDASTIC, check_noise
from reweigh.errors import ConfigError

# What asymmetric noise takes each class of CIFAR-10 for, in the order in which it is done (Patrini et al., 2017).
LOOKS_LIKE = (("truck", "automobile"), ("bird", "airplane"), ("cat", "dog"), ("dog", "cat"), ("deer", "horse"))
# How the fine labels of CIFAR-100 begin. Their blocks are alphabetical; they are not its superclasses.
CIFAR100_BEGINS = ("apple", "aquarium_fish", "baby", "bear", "beaver")
BLOCK = len(CIFAR100_BEGINS)


def symmetric(labels: np.ndarray, classes: Sequence[str], rate: float, generator: Generator) -> np.ndarray:
    """`rate` of each class, rounded down, get another class, each equally likely."""
    rows = np.concatenate([_some(pool, rate, generator) for pool in members(labels, range(len(classes)))])
    drawn = generator.choice(len(classes) - 1, len(rows))
    noisy = labels.copy()
    noisy[rows] = drawn + (drawn >= labels[rows])  # the place among the classes without the label's own
    return noisy


def asymmetric(labels: np.ndarray, classes: Sequence[str], rate: float, generator: Generator) -> np.ndarray:
    """Classes are taken for similar ones (CIFAR-10) or for the next of their block (CIFAR-100).

    Raises ConfigError for other data sets.
    """
    if _is_cifar10(classes):
        noisy = labels.copy()
        for source, target in _pairs(classes):
            noisy[_some(np.flatnonzero(labels == source), rate, generator)] = target
        return noisy
    following = {k: k - k % BLOCK + (k + 1) % BLOCK for k in _blocks(classes, "asymmetric")}
    return _moved(labels, following, len(classes), rate, generator)


def asymmetric_ported(labels: np.ndarray, classes: Sequence[str], rate: float, generator: Generator) -> np.ndarray:
    """The asymmetric noise of CIFAR-10 as its PyTorch ports have it: each step looks at labels that are noisy already.

    Dogs are chosen among true dogs and cats relabelled before, of which some thus become cats again: at rate 0.4 about
    0.24 of the cats end up as dogs. Raises ConfigError for other data sets.
    """
    if not _is_cifar10(classes):
        raise ConfigError("noise kind 'asymmetric-ported' is defined for CIFAR-10 only; use symmetric")
    noisy = labels.copy()
    for source, target in _pairs(classes):
        noisy[_some(np.flatnonzero(noisy == source), rate, generator)] = target
    return noisy


def asymmetric_pairs(labels: np.ndarray, classes: Sequence[str], rate: float, generator: Generator) -> np.ndarray:
    """In each block of CIFAR-100 two labels, drawn at random, are swapped with probability `rate`: noise of 0.4·rate.

    An old generator gives the pairs alone, and `RandomState(0)` says which examples are swapped, as published: another
    seed then means other pairs. A new one gives both. Raises ConfigError for other data sets.
    """
    swapped: dict[int, int] = {}
    for start in _blocks(classes, "asymmetric-pairs")[::BLOCK]:
        one, other = (start + generator.choice(BLOCK, 2, replace=False)).tolist()
        swapped |= {one: other, other: one}
    flipper = np.random.RandomState(0) if isinstance(generator, np.random.RandomState) else generator
    return _moved(labels, swapped, len(classes), rate, flipper)


# Kinds that look at labels alone; `instance` looks at the images too, `heteroskedastic` at the groups of the recipe.
KINDS: dict[str, Callable[[np.ndarray, Sequence[str], float, Generator], np.ndarray]] = {
    "symmetric": symmetric,
    "asymmetric": asymmetric,
    "asymmetric-ported": asymmetric_ported,
    "asymmetric-pairs": asymmetric_pairs,
    "agnostic": agnostic,
}
KNOWN = (*KINDS, HETEROSKEDASTIC, "instance")


def noisy(
    labels: np.ndarray, classes: Sequence[str], said: Mapping[str, Any], generator: Generator, inputs: Any = None
) -> np.ndarray:
    """Labels with the noise `{kind, rate}` of a split's recipe; kind "instance" needs the `inputs` of these examples.

    Its `seed` takes the place of `generator`, by the old one; `groups` are those of kind "heteroskedastic".
    Raises ConfigError for noise that cannot be.
    """
    kind, rate = said["kind"], said["rate"]
    if kind not in KNOWN:
        raise ConfigError(f"noise kind {kind!r} is unknown; known: {', '.join(KNOWN)}")
    if not 0 <= rate < 1:
        raise ConfigError(f"noise rate {rate} is impossible: it is a share of the labels, from 0 to below 1")
    check_noise(said, len(classes))
    if said.get("seed") is not None:
        generator = np.random.RandomState(said["seed"])
    if kind == HETEROSKEDASTIC:
        return heteroskedastic(labels, len(classes), rate, said["groups"], generator)
    if kind == "instance":
        return instance(inputs, labels, len(classes), rate, generator)
    return KINDS[kind](labels, classes, rate, generator)


def realised(clean: np.ndarray, given: np.ndarray, classes: int) -> dict[str, Any]:
    """What noise did: the rate overall and by true class (None for a class without examples), and labels changed.

    Returns `{rate, class_rates: [...], flips: [...], sizes: [...]}`; sizes and flips count examples by true class.
    """
    sizes, flips = (np.bincount(part, minlength=classes) for part in (clean, clean[clean != given]))
    return {
        "rate": float((clean != given).mean()),
        "class_rates": [float(flips[k] / sizes[k]) if sizes[k] else None for k in range(classes)],
        "flips": flips.tolist(),
        "sizes": sizes.tolist(),
    }


def _some(pool: np.ndarray, rate: float, generator: Generator) -> np.ndarray:
    """`rate` of the examples of a pool, rounded down, drawn without replacement."""
    return generator.choice(pool, part_of(len(pool), rate), replace=False)


def _moved(
    labels: np.ndarray, target: Mapping[int, int], classes: int, rate: float, generator: Generator
) -> np.ndarray:
    """Each label `k` becomes `target[k]` with probability `rate`, drawn for one example after the other."""
    chances = np.eye(classes)
    for k, other in target.items():
        chances[k, k], chances[k, other] = 1 - rate, rate
    return redrawn(labels, chances, generator)


def _pairs(classes: Sequence[str]) -> Iterable[tuple[int, int]]:
    return [(classes.index(source), classes.index(target)) for source, target in LOOKS_LIKE]


def _is_cifar10(classes: Sequence[str]) -> bool:
    return {name for pair in LOOKS_LIKE for name in pair} <= set(classes)


def _blocks(classes: Sequence[str], kind: str) -> range:
    """All labels of CIFAR-100, or of whole blocks from its beginning. Raises ConfigError for another data set."""
    if tuple(classes[:BLOCK]) != CIFAR100_BEGINS or len(classes) % BLOCK:
        begin = ", ".join(classes[:3])
        raise ConfigError(f"noise kind {kind!r} is not defined for the classes {begin}, ...; use symmetric")
    return range(len(classes))
