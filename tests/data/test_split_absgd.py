"""The splits of ABSGD: the sheet's sizes, published subsets, noise, fixed seeds, held-out shares; TDR's as before."""

import json

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.data import load, obtain
from reweigh.data.arrays import PARTS, RawData
from reweigh.data.groups import part_of
from reweigh.data.imbalance import long_tail_sizes, step_sizes
from reweigh.data.noise import realised
from reweigh.data.readers.cifar10 import CLASSES as CIFAR10
from reweigh.data.split import draw
from reweigh.errors import ConfigError, DataError, ReweighError

BASE = {"target_size": 0, "target_inside": False, "validation_size": 0, "order": "random", "test": "all"}
LONG_TAIL = BASE | {"kind": "long-tail", "rounding": "exact", "largest_class": 500, "imbalance_ratio": 100.0}
STEP = BASE | {"kind": "step", "largest_class": 500, "imbalance_ratio": 100.0}
ALL = BASE | {"kind": "all"}
SYMMETRIC = {"kind": "symmetric", "rate": 0.4}

# The sheet's table of class sizes: (largest, ratio, classes) -> the first ones, the last ones, the total.
LONG_TAILS = {
    "C10-LT-100": ((5000, 100, 10), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], [], 12406),
    "C10-LT-10": ((5000, 10, 10), [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500], [], 20431),
    "C100-LT-100": ((500, 100, 100), [500, 477, 455, 434, 415], [5, 5, 5, 5], 10847),
    "C100-LT-10": ((500, 10, 100), [500, 488, 477, 466, 455], [52, 51, 50], 19573),
    "META C10-LT-100": ((4990, 100, 10), [4990, 2991], [49], 12380),
    "META C10-LT-10": ((4990, 10, 10), [4990, 3863], [499], 20391),
    "META C100-LT-100": ((490, 100, 100), [490, 467], [4], 10626),
    "META C100-LT-10": ((490, 10, 100), [490, 478], [49], 19183),
}
STEPS = {
    "C10-ST-100": ((5000, 100, 10), [5000] * 5 + [50] * 5, 25250),
    "C10-ST-10": ((5000, 10, 10), [5000] * 5 + [500] * 5, 27500),
    "C100-ST-100": ((500, 100, 100), [500] * 50 + [5] * 50, 25250),
    "C100-ST-10": ((500, 10, 100), [500] * 50 + [50] * 50, 27500),
}


def toy(train, test, names=None, seed=0):
    """A data set whose inputs are row numbers: `train[k]` and `test[k]` examples of class k in shuffled order."""
    generator, parts = np.random.default_rng(seed), {}
    for part, sizes in (("train", train), ("test", test)):
        labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
        parts |= {f"{part}_inputs": np.arange(len(labels), dtype=np.float32)[:, None], f"{part}_labels": labels}
    return RawData(**parts, class_names=tuple(names or (f"class {k}" for k in range(len(train)))))


@pytest.fixture(scope="module")
def ten():
    return toy([5000] * 10, [20] * 10, CIFAR10)


# sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LONG_TAILS)
def test_long_tails_are_those_of_the_sheet(name):
    (largest, ratio, classes), first, last, total = LONG_TAILS[name]
    sizes = long_tail_sizes(largest, ratio, classes, "exact")
    assert sizes[: len(first)] == first
    assert sizes[len(sizes) - len(last) :] == last
    assert (sum(sizes), len(sizes)) == (total, classes)
    assert sizes == sorted(sizes, reverse=True)
    drawn = draw(
        toy([largest] * classes, [1] * classes), LONG_TAIL | {"largest_class": largest, "imbalance_ratio": ratio}, 0
    )
    assert drawn.class_counts.tolist() == sizes


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_those_of_the_sheet(name):
    (largest, ratio, classes), sizes, total = STEPS[name]
    assert step_sizes(largest, ratio, classes) == sizes
    assert sum(sizes) == total
    drawn = draw(
        toy([largest] * classes, [1] * classes), STEP | {"largest_class": largest, "imbalance_ratio": ratio}, 0
    )
    assert drawn.class_counts.tolist() == sizes


def test_rounding_errors_stay_where_records_have_them():
    assert (long_tail_sizes(500, 10, 100)[-1], long_tail_sizes(500, 10, 100, "exact")[-1]) == (49, 50)
    assert (long_tail_sizes(5000, 200, 10)[-1], long_tail_sizes(5000, 200, 10, "exact")[-1]) == (24, 25)


@pytest.mark.parametrize("ratio", [0, 0.5, -3, float("nan"), float("inf")])
def test_impossible_steps_are_refused(ratio):
    with pytest.raises(ConfigError, match="is impossible: it is largest / smallest class"):
        step_sizes(500, ratio, 10)


def test_steps_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="leaves no example of class 9; lower it"):
        step_sizes(50, 100, 10)
    with pytest.raises(ConfigError, match="largest_class 0 is impossible"):
        step_sizes(0, 10, 10)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        step_sizes(5, 1, 1)


def test_a_full_step_gives_its_target_first(ten):
    drawn = draw(ten, STEP | {"largest_class": 5000, "target_size": 100}, 0)
    assert drawn.class_counts.tolist() == step_sizes(4990, 100, 10) == [4990] * 5 + [49] * 5
    assert not set(drawn.train.index) & set(drawn.target.index)
    with pytest.raises(DataError, match="5001 examples wanted as subsample of 'airplane'"):
        draw(ten, STEP | {"largest_class": 5001}, 0)


def test_all_is_everything_that_is_left(ten):
    drawn = draw(ten, ALL, 0)
    assert drawn.train.index.tolist() == list(range(50000))
    assert np.array_equal(drawn.train.label, ten.train_labels)
    assert len(drawn.test) == 200
    reserved = draw(ten, ALL | {"target_size": 20, "validation_size": 100}, 0)
    assert reserved.sizes()["train"] == [4988] * 10
    parts = [set(getattr(reserved, part).index.tolist()) for part in PARTS[:3]]
    assert sum(map(len, parts)) == 50000 == len(set.union(*parts))


# as published ---------------------------------------------------------------------------------------------------------


def published_subset(labels, sizes, seed):
    """What the sheet says of the LDAM generator, written again: seed, shuffle each class in turn, take its first."""
    generator, chosen = np.random.RandomState(seed), []
    for k in np.unique(labels):
        rows = np.where(labels == k)[0]
        generator.shuffle(rows)
        chosen.extend(rows[: sizes[k]])
    return sorted(chosen)


@pytest.mark.parametrize("seed", [0, 1, 42])
@pytest.mark.parametrize("recipe", [LONG_TAIL, STEP], ids=["long-tail", "step"])
def test_the_legacy_order_selects_the_published_subset(ten, recipe, seed):
    recipe = recipe | {"largest_class": 5000, "order": "legacy", "imbalance_ratio": 10}
    sizes = draw(ten, recipe, seed).class_counts.tolist()
    assert draw(ten, {**recipe, "rounding": None}, seed).class_counts.tolist() == sizes
    assert draw(ten, recipe, seed).train.index.tolist() == published_subset(ten.train_labels, sizes, seed)
    # As published, every seed trains on the subset of one.
    fixed = draw(ten, recipe | {"fixed_seed": seed}, 5)
    assert fixed.train.index.tolist() == published_subset(ten.train_labels, sizes, seed)


def test_legacy_targets_come_from_outside_the_published_subset(ten):
    recipe = LONG_TAIL | {"order": "legacy", "largest_class": 4000, "target_size": 100}
    with_target = draw(ten, recipe, 0)
    sizes = long_tail_sizes(4000, 100, 10, "exact")
    assert with_target.train.index.tolist() == published_subset(ten.train_labels, sizes, 0)
    assert with_target.sizes()["target"] == [10] * 10
    assert not set(with_target.train.index) & set(with_target.target.index)


@needs.MIRROR
def test_the_published_subset_of_cifar100(tmp_path):
    (tmp_path / "cifar100").symlink_to(MIRROR_FOLDER / "cifar-100" / "cifar-100-python")
    raw = load.read("cifar100", {}, tmp_path)
    for ratio, total in ((100, 10847), (10, 19573)):
        recipe = LONG_TAIL | {"order": "legacy", "imbalance_ratio": ratio, "fixed_seed": 0, "rounding": None}
        drawn = draw(raw, recipe, 3)
        assert len(drawn.train) == total
        assert drawn.train.index.tolist() == published_subset(raw.train_labels, drawn.class_counts, 0)


def test_a_fixed_seed_is_every_runs_split(ten):
    recipe = LONG_TAIL | {"noise": SYMMETRIC, "target_size": 10, "test": "balanced", "test_size": 50, "fixed_seed": 123}
    digests = {draw(ten, recipe, seed).digest() for seed in (0, 1, 123)}
    assert digests == {draw(ten, {**recipe, "fixed_seed": None}, 123).digest()}
    assert draw(ten, {**recipe, "fixed_seed": None}, 0).digest() not in digests
    assert draw(ten, recipe | {"fixed_seed": 0}, 7).digest() == draw(ten, {**recipe, "fixed_seed": None}, 0).digest()


# noise ----------------------------------------------------------------------------------------------------------------


def test_only_training_labels_are_noisy(ten):
    recipe = ALL | {"target_size": 100, "validation_size": 200, "noise": SYMMETRIC}
    clean, drawn = draw(ten, recipe | {"noise": None}, 0), draw(ten, recipe, 0)
    for part in PARTS:
        before, after = getattr(clean, part), getattr(drawn, part)
        assert np.array_equal(before.index, after.index)
        assert np.array_equal(after.group, after.label)
        assert np.array_equal(before.label, after.label) == (part != "train")
    said = realised(clean.train.label, drawn.train.label, 10)
    assert said["flips"] == [part_of(4970, 0.4)] * 10
    assert draw(ten, recipe, 1).digest() != drawn.digest() != clean.digest()
    assert draw(ten, recipe, 0).digest() == drawn.digest()


def test_noise_comes_after_the_long_tail(ten):
    sizes = long_tail_sizes(500, 100, 10, "exact")
    drawn = draw(ten, LONG_TAIL | {"noise": SYMMETRIC}, 0)
    true = ten.train_labels[drawn.train.index]
    assert np.bincount(true).tolist() == sizes
    assert realised(true, drawn.train.label, 10)["flips"] == [part_of(size, 0.4) for size in sizes]


def test_the_published_noise_is_that_of_the_bare_seed(ten):
    """Every image in the order of the file, numpy's old generator with seed 123, as the sheet describes it."""
    drawn = draw(ten, ALL | {"noise": SYMMETRIC, "order": "legacy", "fixed_seed": 123}, 4)
    generator, labels = np.random.RandomState(123), ten.train_labels
    each = int(int(0.4 * 50000) / 10)
    rows = [row for k in range(10) for row in generator.choice(np.where(labels == k)[0], each, replace=False)]
    expected = labels.copy()
    for row in rows:
        expected[row] = generator.choice([k for k in range(10) if k != expected[row]])
    assert np.array_equal(drawn.train.label, expected)


def test_two_classes_may_be_noisy_too(ten):
    recipe = BASE | {"kind": "two-class", "classes": [4, 9], "total": 1000, "imbalance_ratio": 4, "noise": SYMMETRIC}
    drawn = draw(ten, recipe, 0)
    true = (ten.train_labels[drawn.train.index] == 9).astype(int)
    assert realised(true, drawn.train.label, 2)["flips"] == [part_of(200, 0.4), part_of(800, 0.4)]
    with pytest.raises(ConfigError, match="not defined for the classes"):
        draw(ten, recipe | {"noise": {"kind": "asymmetric", "rate": 0.2}}, 0)


# held out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_a_share_of_every_class_is_held_out(ten, share):
    whole, drawn = draw(ten, LONG_TAIL, 0), draw(ten, LONG_TAIL | {"validation_share": share}, 0)
    sizes = whole.class_counts.tolist()
    assert drawn.sizes()["validation"] == [part_of(size, share) for size in sizes]
    assert drawn.sizes()["train"] == [size - part_of(size, share) for size in sizes]
    assert min(drawn.sizes()["train"]) >= 1
    moved, left = (set(getattr(drawn, part).index.tolist()) for part in ("validation", "train"))
    assert moved | left == set(whole.train.index.tolist()) and not moved & left
    assert draw(ten, LONG_TAIL | {"validation_share": share}, 0).digest() == drawn.digest()
    assert draw(ten, LONG_TAIL | {"validation_share": share, "fixed_seed": 0}, 9).digest() == drawn.digest()


def test_a_held_out_share_is_as_noisy_as_what_is_trained_on(ten):
    whole = draw(ten, ALL | {"noise": SYMMETRIC}, 0)
    drawn = draw(ten, ALL | {"noise": SYMMETRIC, "validation_share": 0.1}, 0)
    label_of = dict(zip(whole.train.index.tolist(), whole.train.label.tolist(), strict=True))
    for part in (drawn.train, drawn.validation):
        assert [label_of[row] for row in part.index.tolist()] == part.label.tolist() == part.group.tolist()
        assert (part.label != ten.train_labels[part.index]).mean() == pytest.approx(0.4, abs=0.02)
    assert drawn.sizes()["validation"] == [part_of(size, 0.1) for size in whole.class_counts]


def test_targets_inside_the_training_part_are_not_held_out(ten):
    recipe = ALL | {"target_size": 5000, "target_inside": True, "validation_share": 0.5}
    drawn = draw(ten, recipe, 0)
    assert drawn.sizes()["validation"] == [2500] * 10
    assert not set(drawn.validation.index) & set(drawn.target.index)
    with pytest.raises(DataError, match="validation_share of class 0, but only"):
        draw(ten, recipe | {"target_size": 30000}, 0)


# any split ------------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw_from):
    sizes = st.lists(st.integers(4, 60), min_size=10, max_size=10)
    raw = toy(draw_from(sizes), draw_from(sizes), CIFAR10, draw_from(st.integers(0, 3)))
    recipe = BASE | {
        "kind": draw_from(st.sampled_from(["long-tail", "step", "all"])),
        "order": draw_from(st.sampled_from(["random", "first", "legacy"])),
        "target_size": 10 * draw_from(st.integers(0, 2)),
        "target_inside": draw_from(st.booleans()),
        "fixed_seed": draw_from(st.sampled_from([None, 0, 123])),
        "validation_share": draw_from(st.sampled_from([None, 0.1, 0.5])),
        "noise": draw_from(st.none() | st.fixed_dictionaries({
            "kind": st.sampled_from(["symmetric", "asymmetric", "asymmetric-ported"]),
            "rate": st.sampled_from([0.0, 0.2, 0.4]),
        })),
    }  # fmt: skip
    if recipe["kind"] != "all":
        recipe |= {"largest_class": draw_from(st.integers(2, 60)), "imbalance_ratio": draw_from(st.floats(1, 30))}
    return raw, recipe, draw_from(st.integers(0, 2**31))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cases())
def test_every_split_that_can_be_drawn_is_sound(case):
    raw, recipe, seed = case
    try:
        split = draw(raw, recipe, seed)
    except ReweighError:
        reject()
    train, target, validation = (set(getattr(split, part).index.tolist()) for part in PARTS[:3])
    assert not validation & (train | target)
    assert recipe["target_inside"] or not train & target
    for part in PARTS:
        drawn = getattr(split, part)
        assert (drawn.index.dtype, drawn.label.dtype, drawn.group.dtype) == (np.int32, np.int64, np.int64)
        assert (np.diff(drawn.index) > 0).all()
        assert np.array_equal(drawn.label, drawn.group)
        true = (raw.test_labels if part == "test" else raw.train_labels)[drawn.index]
        assert np.array_equal(drawn.label, true) or (recipe["noise"] and part in ("train", "validation"))
    plain = draw(raw, {key: recipe[key] for key in recipe if key not in ("noise", "validation_share")}, seed)
    assert train | validation == set(plain.train.index.tolist())
    assert (set(split.train.label.tolist()) | set(split.validation.label.tolist())) == set(split.train.label.tolist())
    assert draw(raw, recipe, seed).digest() == split.digest()
    if recipe["fixed_seed"] is not None:
        assert draw(raw, recipe, seed + 1).digest() == split.digest()


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "steps"}, "split kind 'steps' is unknown; known: two-class, long-tail, step, all, groups"),
        ({"order": "numpy"}, "known: random, first, legacy"),
        ({"kind": "two-class", "classes": [0, 1], "order": "legacy"}, "'legacy' does not go with kind 'two-class'"),
        ({"kind": "groups", "noise": SYMMETRIC}, "does not go with kind 'groups'"),
        ({"validation_share": 1.0}, "validation_share 1.0 is impossible"),
        ({"validation_share": -0.1}, "validation_share -0.1 is impossible"),
        ({"validation_share": 0.1, "validation_size": 10}, "use one of them"),
        ({"noise": {"kind": "symmetric", "rate": 1.5}}, "rate 1.5 is impossible"),
        ({"noise": {"kind": "asymmetric-pairs", "rate": 0.5}}, "not defined for the classes airplane"),
        ({"test": "group-balanced"}, "does not go with kind 'all'"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(ten, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        draw(ten, ALL | change, 0)
    assert "\n" not in str(caught.value)


# records that exist ---------------------------------------------------------------------------------------------------


def recorded_splits():
    """The different splits of the records of TDR that are in git, by recipe: data set, split block, seed."""
    found = {}
    for path in sorted((ROOT / "results" / "paper" / "tdr").rglob("seed*.json")):
        body = json.loads(path.read_bytes())
        data = body["spec"]["data"]
        if data["dataset"] in ("mnist", "adult"):
            found[json.dumps([data, body["spec"]["seed"]], sort_keys=True)] = body["split"]["digest"]
    return found


def test_the_splits_of_finished_records_are_drawn_as_ever(raw_root):
    recorded, raw = recorded_splits(), {}
    assert len(recorded) >= 20
    for recipe, expected in recorded.items():
        data, seed = json.loads(recipe)
        key = json.dumps([data["dataset"], data["options"]])
        if key not in raw:
            raw = {**raw, key: load.read(data["dataset"], data["options"], raw_root)}
        assert draw(raw[key], data["split"], seed).digest() == expected, recipe


# on disk --------------------------------------------------------------------------------------------------------------


def spec_of(dataset, split, seed=0):
    names = {"scale": "smoke", "paper": "absgd", "experiment": "noise", "setting": "s", "method": "sgd", "seed": seed}
    return names | {"data": {"dataset": dataset, "options": {}, "split": split}}


def test_the_split_says_what_its_noise_came_to(project, raw_root):
    recipe = ALL | {"noise": {"kind": "asymmetric", "rate": 0.4}, "validation_share": 0.1}
    said = obtain.describe(spec_of("cifar10-slice-large", recipe), project)
    assert said["recipe"]["split"] == recipe
    assert (said["noise"]["kind"], said["noise"]["rate"]) == ("asymmetric", 0.4)
    split = obtain.obtain(spec_of("cifar10-slice-large", recipe), project)
    raw, flips = load.read("cifar10-slice-large", {}, raw_root), np.zeros(10, int)
    for name, part in (("train", split.train), ("validation", split.validation)):
        true = raw.train_labels[part.index]
        assert said["noise"][name] == realised(true, part.label, 10)
        flips += said["noise"][name]["flips"]
    assert flips.tolist() == [0, 0, 200, 200, 200, 56, 0, 0, 0, 48]
    assert "noise" not in obtain.describe(spec_of("cifar10-slice-large", ALL, 1), project)
