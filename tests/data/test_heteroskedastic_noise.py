"""The data of HAR: noise of some classes, drawn before the imbalance; rare classes by name; the sheet's sizes."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy.stats import binom
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.config import known_sizes, sizes
from reweigh.config.cards import PlannedStage
from reweigh.config.loading import load
from reweigh.data.arrays import RawData
from reweigh.data.heteroskedastic_noise import agnostic, heteroskedastic
from reweigh.data.split import draw
from reweigh.errors import ConfigError, DataError, ReweighError
from reweigh.streams import rng
from reweigh.training.stages import Parts

PAIRS = [[1, 9], [3, 5]]
BLOCKS = [[8, 13, 48, 58, 90], [41, 69, 81, 85, 89]]
BASE = {
    "target_size": 0,
    "target_inside": False,
    "validation_size": 0,
    "order": "legacy",
    "test": "all",
    "test_size": None,
}
NOISE = {"kind": "heteroskedastic", "rate": 0.4, "groups": PAIRS, "seed": 0, "first": True}
STEP = BASE | {"kind": "step", "largest_class": 5000, "imbalance_ratio": 10.0, "rare": [1, 3, 5, 9], "noise": NOISE}
MNIST = load(ROOT).resolve("paper/har/mnist-hetero/crossed/har/seed0")["data"]["split"]


def toy(train, test, seed=0):
    """A data set of these class sizes, in shuffled order, without inputs."""
    generator = np.random.default_rng(seed)
    labels = [generator.permutation(np.repeat(np.arange(len(part)), part)) for part in (train, test)]
    inputs = [np.zeros((len(part), 1), np.float32) for part in labels]
    return RawData(
        inputs[0], labels[0], inputs[1], labels[1], class_names=tuple(f"class {k}" for k in range(len(train)))
    )


TOYS = {
    name: toy(known_sizes.CLASS_SIZES[name], [5] * len(known_sizes.CLASS_SIZES[name]))
    for name in ("mnist", "cifar10", "cifar100")
}


# the released procedure, written down once more -----------------------------------------------------------------------


def released_noise(labels, groups, keep, swap):
    """One multinomial draw an image, in file order, by a generator of its own whose seed is 0."""
    table = np.diag(np.ones(labels.max() + 1))
    for group in groups:
        for k in group:
            table[k, k] = 0
            for other in group:
                table[k, other] = keep if other == k else swap
    generator = np.random.RandomState(0)
    return np.array([np.where(generator.multinomial(1, table[k], 1)[0] == 1)[0][0] for k in labels])


def released_step(labels, counts):
    """The first of each class, after numpy's global generator has shuffled one class after the other."""
    chosen = []
    for k in np.unique(labels):
        rows = np.where(labels == k)[0]
        np.random.shuffle(rows)  # noqa: NPY002 - as the released code has it
        chosen.append(rows[: counts[k]])
    return np.sort(np.concatenate(chosen))


def cifar10_labels():
    """The labels of CIFAR-10 in its own order, where they are at hand; else as many in any order."""
    file = MIRROR_FOLDER / "cifar-10" / "labels.npy"
    return np.load(file)[:50_000].astype(np.int64) if file.is_file() else TOYS["cifar10"].train_labels


@pytest.mark.parametrize("seed", [0, 3])
def test_the_imbalanced_set_of_cifar10_is_the_released_one(seed):
    labels = cifar10_labels()
    raw = dataclasses.replace(TOYS["cifar10"], train_labels=labels)
    drawn = draw(raw, STEP, seed).train
    noisy = released_noise(labels, PAIRS, 1 - 0.8 + 0.4, 0.4)
    np.random.seed(seed)  # noqa: NPY002
    rows = released_step(noisy, [5000, 500, 5000, 500, 5000, 500, 5000, 5000, 5000, 500])
    assert len(rows) == 32_000
    assert np.array_equal(drawn.index, rows) and np.array_equal(drawn.label, noisy[rows])
    assert np.array_equal(drawn.group, drawn.label)
    parts = Parts({"data": {"split": STEP}}, raw, draw(raw, STEP, seed), torch.device("cpu"))
    assert np.array_equal(parts.clean_labels(parts.split.train), labels[rows])
    assert (labels != noisy).mean() == pytest.approx(0.16, abs=0.005)


def test_the_balanced_sets_are_the_released_ones():
    for name, groups, keep, swap, overall in (
        ("cifar10", PAIRS, 1 - 0.8 + 0.4, 0.4, 0.16),
        ("cifar100", BLOCKS, 1 - 0.5 + 0.1, 0.1, 0.04),
    ):
        raw = TOYS[name]
        noisy = released_noise(raw.train_labels, groups, keep, swap)
        for first in ({}, {"first": True}):  # all are kept, so that it is the same before or after
            said = {"kind": "heteroskedastic", "rate": 0.4, "groups": groups, "seed": 0} | first
            drawn = draw(raw, BASE | {"kind": "all", "noise": said}, 7)
            assert np.array_equal(drawn.train.label, noisy)
        assert (raw.train_labels != noisy).mean() == pytest.approx(overall, abs=0.004)


def test_agnostic_noise_and_the_shuffling_after_it_are_those_of_one_generator():
    raw, rate, seed = TOYS["cifar10"], 0.5, 11
    generator = np.random.RandomState(seed)
    noisy = raw.train_labels.copy()
    for i, label in enumerate(raw.train_labels):
        if generator.rand() < rate:
            new = label
            while new == label:
                new = generator.randint(10)
            noisy[i] = new
    pools = [np.where(noisy == k)[0] for k in range(10)]
    for pool in pools:
        generator.shuffle(pool)
    counts = [4000 if k not in STEP["rare"] else 400 for k in range(10)]
    rows = np.sort(np.concatenate([pool[:count] for pool, count in zip(pools, counts, strict=True)]))
    said = {"kind": "agnostic", "rate": rate, "first": True}
    drawn = draw(raw, STEP | {"largest_class": 4000, "noise": said}, seed).train
    assert np.array_equal(drawn.index, rows) and np.array_equal(drawn.label, noisy[rows])


# sizes of the sheet ---------------------------------------------------------------------------------------------------


def test_a_seed_of_its_own_gives_all_runs_the_same_noise_of_other_subsets():
    one, other = (draw(TOYS["cifar10"], STEP, seed).train for seed in (0, 1))
    assert one.label.size == other.label.size == 32_000 and not np.array_equal(one.index, other.index)
    both, here, there = np.intersect1d(one.index, other.index, return_indices=True)
    assert len(both) > 20_000 and np.array_equal(one.label[here], other.label[there])
    free = STEP | {"largest_class": 4500, "noise": {key: NOISE[key] for key in NOISE if key != "seed"}}
    one, other = (draw(TOYS["cifar10"], free, seed).train for seed in (0, 1))
    both, here, there = np.intersect1d(one.index, other.index, return_indices=True)
    assert (one.label[here] != other.label[there]).any()


def test_mnist_has_its_sizes_by_noisy_labels_before_and_after_a_share_is_held_out():
    raw = TOYS["mnist"]
    for seed in range(3):
        drawn = draw(raw, MNIST, seed)
        rare = np.isin(np.arange(10), MNIST["rare"])
        assert drawn.sizes()["train"] == np.where(rare, 54, 540).tolist()
        assert drawn.sizes()["validation"] == np.where(rare, 6, 60).tolist()
        for part in (drawn.train, drawn.validation):
            wrong = raw.train_labels[part.index] != part.label
            assert not wrong[~np.isin(part.label, [3, 4, 5, 9])].any()
        wrong = raw.train_labels[drawn.train.index] != drawn.train.label
        assert wrong[np.isin(drawn.train.label, [3, 5])].mean() == pytest.approx(0.4, abs=0.06)
    data = {"dataset": "mnist", "options": {}, "split": MNIST}
    sizes.check(data, "here")
    assert sizes.training_sizes(data) == np.where(rare, 54, 540).tolist()
    stage = PlannedStage(1)
    assert sizes.epoch_size(data, stage) == sizes.training_size(data) == 3456
    later = MNIST | {"noise": {key: MNIST["noise"][key] for key in MNIST["noise"] if key != "first"}}
    assert sizes.epoch_size(data | {"split": later}, stage) is None  # the share follows labels that are yet to be drawn


# any labels -----------------------------------------------------------------------------------------------------------


@st.composite
def noises(draw_from):
    """Class sizes, disjoint groups of their classes, a rate."""
    counts = draw_from(st.lists(st.integers(0, 60), min_size=4, max_size=9).filter(sum))
    order = draw_from(st.permutations(range(len(counts))))
    first = draw_from(st.integers(2, len(counts) - 2))
    second = draw_from(st.integers(2, len(counts) - first))
    groups = [order[:first], order[first : first + second]][: draw_from(st.integers(1, 2))]
    return counts, groups, draw_from(st.sampled_from([0.0, 0.1, 0.4, 0.75, 0.99])), draw_from(st.integers(0, 2**32 - 1))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(noises())
def test_labels_move_within_their_group_only(case):
    counts, groups, rate, seed = case
    clean = toy(counts, [1], seed % 7).train_labels
    group_of = {k: tuple(sorted(group)) for group in groups for k in group}
    for generator in (np.random.RandomState(seed), rng(seed, "noise")):
        given = heteroskedastic(clean, len(counts), rate, groups, generator)
        assert (given.shape, given.dtype) == (clean.shape, np.int64)
        for one, other in zip(clean.tolist(), given.tolist(), strict=True):
            assert one == other or other in group_of.get(one, ())
        inside = np.isin(clean, list(group_of))
        moved = int((given != clean).sum())
        low, high = binom.interval(1 - 1e-9, int(inside.sum()), rate)
        assert low <= moved <= high or (not inside.any() and moved == 0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(noises())
def test_agnostic_noise_reaches_every_class_at_its_rate(case):
    counts, _, rate, seed = case
    clean = toy(counts, [1], seed % 7).train_labels
    given = agnostic(clean, [""] * len(counts), rate, rng(seed, "noise"))
    low, high = binom.interval(1 - 1e-9, len(clean), rate)
    assert low <= (given != clean).sum() <= high and set(given.tolist()) <= set(range(len(counts)))


def test_each_wrong_label_is_as_likely():
    clean = np.repeat(np.arange(6), 20_000)
    given = heteroskedastic(clean, 6, 0.6, [[0, 2, 5, 3]], rng(0, "noise"))
    for k, shares in {0: [0.4, 0, 0.2, 0.2, 0, 0.2], 1: [0, 1, 0, 0, 0, 0], 3: [0.2, 0, 0.2, 0.4, 0, 0.2]}.items():
        assert np.bincount(given[clean == k], minlength=6) / 20_000 == pytest.approx(shares, abs=0.015)
    given = agnostic(clean, "abcdef", 0.5, rng(0, "noise"))
    assert np.bincount(given[clean == 4], minlength=6) / 20_000 == pytest.approx([0.1] * 4 + [0.5, 0.1], abs=0.015)


SMALL = toy([60] * 6, [4] * 6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rare=st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True) | st.none(),
    largest=st.integers(1, 70),
    ratio=st.sampled_from([1.0, 2.5, 10.0]),
    held_out=st.sampled_from([{}, {"validation_share": 0.25}, {"validation_size": 12}]),
    order=st.sampled_from(["random", "first", "legacy"]),
    kind=st.sampled_from(["step", "long-tail"]),
    noise=st.sampled_from([None, {"kind": "heteroskedastic", "rate": 0.4, "groups": [[0, 4, 2]], "first": True}]),
    seed=st.integers(0, 99),
)
def test_sizes_by_noisy_labels_are_those_of_the_config(rare, largest, ratio, held_out, order, kind, noise, seed):
    split = BASE | {"kind": kind, "largest_class": largest, "imbalance_ratio": ratio, "order": order} | held_out
    split |= {"noise": noise} if noise else {}
    split |= {"rare": rare} if rare and kind == "step" else {}
    try:
        drawn = draw(SMALL, split, seed)
    except ReweighError:
        reject()  # of which hypothesis allows few: most are drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(known_sizes.labelled.__globals__["CLASS_SIZES"], "small", [60] * 6)
        planned = sizes.training_sizes({"dataset": "small", "options": {}, "split": split})
    assert drawn.sizes()["train"] == planned
    if rare and kind == "step" and not held_out:
        assert all(planned[k] == (int(largest / ratio) if k in rare else largest) for k in range(6))


# refusals -------------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"noise": NOISE | {"groups": [[1, 12]]}}, "noise groups [[1, 12]]: no class 12; known: 0 to 9"),
    ({"noise": NOISE | {"groups": [[1, 9], [9, 3]]}}, "class 9 is named twice; name it once"),
    ({"noise": NOISE | {"groups": [[1]]}}, "name at least two in each"),
    ({"noise": NOISE | {"groups": None}}, "noise of kind heteroskedastic needs groups"),
    ({"noise": NOISE | {"kind": "agnostic"}}, "noise groups go with kind heteroskedastic only, not agnostic"),
    ({"rare": [1, 12]}, "rare [1, 12]: no class 12; known: 0 to 9"),
    ({"rare": [1, 1]}, "name at least one class, and each once"),
    ({"rare": []}, "name at least one class"),
    ({"rare": list(range(10))}, "rare names all 10 classes"),
    ({"target_size": 10}, "leaves no clean examples for a target set; set target_size to 0, or leave 'first' out"),
    ({"kind": "two-class", "classes": [1, 9], "total": 100, "order": "random"}, "does not go with kind two-class"),
]


@pytest.mark.parametrize(("changed", "says"), REFUSED)
def test_what_cannot_be_is_refused_by_the_draw_and_by_the_config(changed, says):
    split = STEP | changed
    with pytest.raises(ConfigError) as refused:
        draw(TOYS["cifar10"], split, 0)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        sizes.check({"dataset": "cifar10", "options": {}, "split": split}, "here")
    assert says in str(refused.value) and str(refused.value).startswith("here: ")


def test_too_few_noisy_examples_are_refused_and_the_largest_possible_named():
    short = STEP | {"rare": [0, 2, 4, 6], "noise": {key: NOISE[key] for key in NOISE if key != "seed"}}
    with pytest.raises(DataError, match=r"counted by noisy labels, but only .* largest_class can be at most 4[89]"):
        draw(TOYS["cifar10"], short, 0)
    data = {"dataset": "cifar10", "options": {}, "split": short}
    with pytest.raises(ConfigError, match="has 4756 under its noise; ask for fewer: largest_class can be at most 4756"):
        sizes.check(data, "here")
    data["split"] = short | {"largest_class": 4756}
    sizes.check(data, "here")
    assert all(draw(TOYS["cifar10"], data["split"], seed).sizes()["train"][9] == 4756 for seed in range(3))
    data["split"] = short | {"noise": NOISE}  # one draw for all runs, which may have the examples
    sizes.check(data, "here")
    data["split"] = short | {"noise": NOISE, "largest_class": 5400}
    with pytest.raises(ConfigError, match="largest_class can be at most 5000"):
        sizes.check(data, "here")


# people's labels ------------------------------------------------------------------------------------------------------

TAIL = BASE | {"kind": "long-tail", "largest_class": 5000, "imbalance_ratio": 10.0}


def test_a_tail_of_given_labels_is_as_long_as_they_allow():
    data = {"dataset": "cifar10n", "options": {"labels": "worse"}, "split": TAIL}
    sizes.check(data, "here")
    assert sizes.training_sizes(data) == [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]
    data["split"] = TAIL | {"largest_class": 5400}
    with pytest.raises(ConfigError, match=r"class 0 needs 5400 images .*cifar10n has 5309; .* at most 5309"):
        sizes.check(data, "here")
    data["split"] = TAIL | {"kind": "step", "rare": [0, 1, 2], "largest_class": 4500}
    with pytest.raises(ConfigError, match=r"class 4 needs 4500 images .*cifar10n has 4040; .* at most 4040"):
        sizes.check(data, "here")
    data["split"] = TAIL | {"imbalance_ratio": 1.0, "largest_class": 300}
    data |= {"dataset": "cifar100n", "options": {}}
    with pytest.raises(ConfigError, match=r"largest_class can be at most 199"):
        sizes.check(data, "here")


@needs.MIRROR
def test_the_tail_of_given_labels_is_drawn_by_them(tmp_path):
    from reweigh.data import load

    for name, place in {"cifar10": "cifar-10", "cifar10n": "cifar-n"}.items():
        (tmp_path / name).symlink_to(MIRROR_FOLDER / place)
    raw = load.read("cifar10n", {"labels": "worse"}, tmp_path)
    drawn = draw(raw, TAIL | {"validation_share": 0.1}, 0)
    data = {"dataset": "cifar10n", "options": {"labels": "worse"}, "split": TAIL | {"validation_share": 0.1}}
    assert drawn.sizes()["train"] == sizes.training_sizes(data)
    assert np.array_equal(drawn.train.label, raw.train_labels[drawn.train.index])
    wrong = raw.train_clean_labels[drawn.train.index] != drawn.train.label
    assert wrong.mean() == pytest.approx(0.40, abs=0.04)
    with pytest.raises(DataError, match="largest_class can be at most 5309"):
        draw(raw, TAIL | {"largest_class": 5400}, 0)
