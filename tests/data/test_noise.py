"""Label noise: exact rates, the published draws to the bit, nothing but what the kind says, unequal classes too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs
from support.needs import MIRROR_FOLDER

from reweigh.data.groups import part_of
from reweigh.data.noise import KINDS, asymmetric, asymmetric_pairs, asymmetric_ported, noisy, realised, symmetric
from reweigh.data.readers import pickled
from reweigh.data.readers.cifar10 import CLASSES as CIFAR10
from reweigh.data.readers.cifar100_slice import CLASSES as CIFAR100_TWENTY
from reweigh.errors import ConfigError
from reweigh.streams import rng

PAIRS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}  # truck, bird, cat, dog, deer
CIFAR100 = (*CIFAR100_TWENTY, *(f"class {k}" for k in range(20, 100)))


def shuffled(sizes, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def moves(clean, given):
    """How many labels went from where to where: {(from, to): count}."""
    changed = clean != given
    pairs, counts = np.unique(np.stack((clean[changed], given[changed]), 1), axis=0, return_counts=True)
    return {tuple(pair): int(count) for pair, count in zip(pairs.tolist(), counts, strict=True)}


# rates ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "size", "rate"), [(10, 5000, 0.2), (10, 5000, 0.4), (100, 500, 0.2), (100, 500, 0.4)]
)
def test_symmetric_noise_changes_exactly_its_share_of_each_class(classes, size, rate):
    clean = shuffled([size] * classes)
    given = symmetric(clean, CIFAR10 if classes == 10 else CIFAR100, rate, rng(123, "noise"))
    said = realised(clean, given, classes)
    assert said["rate"] == rate
    assert said["flips"] == [int(int(rate * 50000) / classes)] * classes  # the published arithmetic
    to = np.zeros((classes, classes))
    for (source, target), count in moves(clean, given).items():
        to[source, target] = count
    expected = rate * size / (classes - 1)
    off = to[~np.eye(classes, dtype=bool)]
    # Each other class is equally likely: chi-square over all cells, far inside its tails.
    chi2 = ((off - expected) ** 2 / expected).sum()
    freedom = classes * (classes - 2)
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


def test_asymmetric_noise_of_cifar10_follows_its_map_on_true_labels():
    clean = shuffled([5000] * 10)
    for rate, overall in ((0.2, 0.1), (0.4, 0.2)):
        given = asymmetric(clean, CIFAR10, rate, rng(123, "noise"))
        assert moves(clean, given) == {pair: int(rate * 5000) for pair in PAIRS.items()}
        assert realised(clean, given, 10)["rate"] == overall


def test_the_ported_noise_undoes_part_of_itself():
    clean = shuffled([5000] * 10)
    said = realised(clean, asymmetric_ported(clean, CIFAR10, 0.4, rng(123, "noise")), 10)
    assert said["rate"] == pytest.approx(0.1848, abs=0.001)
    # 2,000 cats became dogs; of 7,000 dogs then 2,800 became cats, 2,000 / 7,000 of them cats that turn back.
    assert said["class_rates"][3] == pytest.approx(0.24, abs=0.01)
    assert said["class_rates"][5] == pytest.approx(0.4, abs=0.01)
    assert [said["class_rates"][k] for k in (9, 2, 4, 0)] == [0.4, 0.4, 0.4, 0.0]
    low = realised(clean, asymmetric_ported(clean, CIFAR10, 0.2, rng(123, "noise")), 10)
    assert low["rate"] == pytest.approx(0.096, abs=0.001)


def test_asymmetric_noise_of_cifar100_moves_on_within_blocks_of_five():
    clean = shuffled([500] * 100)
    for rate in (0.2, 0.4):
        given = asymmetric(clean, CIFAR100, rate, rng(123, "noise"))
        assert set(moves(clean, given)) <= {(k, 5 * (k // 5) + (k + 1) % 5) for k in range(100)}
        deviation = np.sqrt(rate * (1 - rate) / len(clean))
        assert abs(realised(clean, given, 100)["rate"] - rate) < 4 * deviation


def test_the_pairs_of_cifar100_are_one_a_block():
    clean = shuffled([500] * 100)
    for rate in (0.2, 0.4):
        given = asymmetric_pairs(clean, CIFAR100, rate, rng(123, "noise"))
        seen = set(moves(clean, given))
        assert len(seen) == 40 and all((b, a) in seen and a // 5 == b // 5 for a, b in seen)
        assert {a // 5 for a, _ in seen} == set(range(20))
        deviation = np.sqrt(0.4 * rate * (1 - rate) / len(clean))
        assert abs(realised(clean, given, 100)["rate"] - 0.4 * rate) < 4 * deviation


# the published draws --------------------------------------------------------------------------------------------------


def published_symmetric(labels, classes, rate, seed):
    """What the sheet describes, written again."""
    old = np.random.RandomState(seed)
    each = int(int(rate * len(labels)) / classes)
    rows = [row for k in range(classes) for row in old.choice(np.where(labels == k)[0], each, replace=False)]
    given = labels.copy()
    for row in rows:
        given[row] = old.choice([k for k in range(classes) if k != given[row]])
    return given


def published_ported(labels, rate, seed):
    old, given = np.random.RandomState(seed), labels.copy()
    for source, target in PAIRS.items():
        there = np.where(given == source)[0]
        given[old.choice(there, int(rate * len(there)), replace=False)] = target
    return given


def published_blocks(labels, rate, seed):
    generator, table = np.random.RandomState(seed), np.zeros((100, 100))
    for k in range(100):
        table[k, k] = 1.0 - rate
        table[k, k + 1 if k % 5 < 4 else k - 4] = rate
    return np.array([np.where(generator.multinomial(1, table[k], 1)[0] == 1)[0][0] for k in labels])


def published_pairs(labels, rate, seed):
    """Pairs from numpy's global generator, swaps from one with seed 0, as the original code of Wang et al. has them."""
    seeded, table, flipper = np.random.RandomState(seed), np.eye(100), np.random.RandomState(0)
    for start in range(0, 100, 5):
        one, other = start + seeded.choice(range(5), size=2, replace=False)
        table[one, other] = table[other, one] = rate
        table[one, one] = table[other, other] = 1.0 - rate
    return np.array([np.where(flipper.multinomial(1, table[k], 1)[0] == 1)[0][0] for k in labels])


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_with_the_old_generator_the_published_labels_come_out(rate):
    ten, hundred = shuffled([100] * 10), shuffled([20] * 100)
    old = np.random.RandomState
    assert np.array_equal(symmetric(ten, CIFAR10, rate, old(123)), published_symmetric(ten, 10, rate, 123))
    assert np.array_equal(symmetric(hundred, CIFAR100, rate, old(7)), published_symmetric(hundred, 100, rate, 7))
    assert np.array_equal(asymmetric_ported(ten, CIFAR10, rate, old(123)), published_ported(ten, rate, 123))
    assert np.array_equal(asymmetric(hundred, CIFAR100, rate, old(123)), published_blocks(hundred, rate, 123))
    for seed in (123, 7):
        assert np.array_equal(
            asymmetric_pairs(hundred, CIFAR100, rate, old(seed)), published_pairs(hundred, rate, seed)
        )


@needs.MIRROR
@pytest.mark.parametrize(
    ("rate", "ported", "blocks", "pairs"), [(0.2, 0.0958, 0.2006, 0.079), (0.4, 0.1848, 0.4033, 0.158)]
)
def test_realised_rates_on_the_real_labels_are_those_of_the_published_code(rate, ported, blocks, pairs):
    ten = np.load(MIRROR_FOLDER / "cifar-10" / "labels.npy")[:50000].astype(np.int64)
    folder = MIRROR_FOLDER / "cifar-100" / "cifar-100-python"
    hundred = np.array(pickled.load(folder / "train")["fine_labels"], np.int64)
    names = tuple(pickled.load(folder / "meta")["fine_label_names"])
    old = np.random.RandomState
    assert names[:20] == CIFAR100_TWENTY
    assert (asymmetric_ported(ten, CIFAR10, rate, old(123)) != ten).mean() == pytest.approx(ported, abs=5e-5)
    assert (asymmetric(hundred, names, rate, old(123)) != hundred).mean() == pytest.approx(blocks, abs=5e-5)
    assert (asymmetric_pairs(hundred, names, rate, old(123)) != hundred).mean() == pytest.approx(pairs, abs=5e-4)
    assert (symmetric(ten, CIFAR10, rate, old(123)) != ten).mean() == rate


# any labels -----------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """A kind of noise with labels that it is defined for: unequal classes, some of them empty."""
    kind = draw(st.sampled_from(list(KINDS)))
    names = {"asymmetric-ported": [CIFAR10], "asymmetric-pairs": [CIFAR100_TWENTY]}.get(
        kind, [CIFAR10, CIFAR100_TWENTY]
    )
    classes = draw(st.sampled_from(names))
    sizes = draw(st.lists(st.integers(0, 40), min_size=len(classes), max_size=len(classes)).filter(sum))
    rate = draw(st.sampled_from([0.0, 0.05, 0.2, 0.29, 0.4, 0.7, 0.99]))
    return kind, classes, shuffled(sizes, draw(st.integers(0, 5))), rate, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cases())
def test_noise_is_pure_and_does_what_its_kind_says(case):
    kind, classes, clean, rate, seed = case
    before = clean.copy()
    given = KINDS[kind](clean, classes, rate, rng(seed, "noise"))
    assert np.array_equal(clean, before)
    assert (given.shape, given.dtype) == (clean.shape, np.int64)
    assert np.array_equal(given, KINDS[kind](clean, classes, rate, rng(seed, "noise")))
    old = KINDS[kind](clean, classes, rate, np.random.RandomState(seed))
    sizes = np.bincount(clean, minlength=len(classes))
    for drawn in (given, old):
        assert drawn.min() >= 0 and drawn.max() < len(classes)
        said = realised(clean, drawn, len(classes))
        assert said["sizes"] == sizes.tolist()
        assert sum(said["flips"]) == round(said["rate"] * len(clean)) == (clean != drawn).sum()
        if kind == "symmetric":
            assert said["flips"] == [part_of(size, rate) for size in sizes]
        elif kind == "asymmetric" and classes is CIFAR10:
            kept = {pair: part_of(sizes[pair[0]], rate) for pair in PAIRS.items()}
            assert moves(clean, drawn) == {pair: count for pair, count in kept.items() if count}
        elif kind == "asymmetric-ported":
            assert set(moves(clean, drawn)) <= set(PAIRS.items())
        elif kind != "agnostic":
            assert all(source // 5 == target // 5 for source, target in moves(clean, drawn))
        if rate == 0:
            assert np.array_equal(drawn, clean)


def test_a_share_counts_as_it_is_written():
    assert [part_of(100, share) for share in (0.29, 0.57, 0.58, 1e-05, 0, 0.999)] == [29, 57, 58, 0, 0, 99]
    assert int(0.29 * 100) == 28


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "classes", "message"),
    [
        ({"kind": "symetric", "rate": 0.2}, CIFAR10, "noise kind 'symetric' is unknown; known: symmetric, asymmetric"),
        ({"kind": "symmetric", "rate": 1.0}, CIFAR10, "rate 1.0 is impossible"),
        ({"kind": "symmetric", "rate": -0.1}, CIFAR10, "rate -0.1 is impossible"),
        ({"kind": "symmetric", "rate": float("nan")}, CIFAR10, "rate nan is impossible"),
        (
            {"kind": "asymmetric", "rate": 0.2},
            tuple("0123456789"),
            "not defined for the classes 0, 1, 2, ...; use symmetric",
        ),
        ({"kind": "asymmetric", "rate": 0.2}, CIFAR100[:7], "not defined for the classes apple"),
        ({"kind": "asymmetric-ported", "rate": 0.2}, CIFAR100, "defined for CIFAR-10 only"),
        ({"kind": "asymmetric-pairs", "rate": 0.2}, CIFAR10, "not defined for the classes airplane"),
    ],
)
def test_noise_that_cannot_be_is_refused(said, classes, message):
    with pytest.raises(ConfigError, match=message):
        noisy(shuffled([10] * len(classes)), classes, said, rng(0, "noise"))
