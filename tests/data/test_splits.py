"""Splits: the paper's sizes, nothing in two places, the same draw for the same seed, impossible ones refused."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from support.toy_data import RECIPE, toy

from reweigh.data import load
from reweigh.data.arrays import PARTS, Split
from reweigh.data.imbalance import fraction, long_tail_sizes, step_sizes, two_class_sizes
from reweigh.data.split import draw
from reweigh.errors import ConfigError, DataError, ReweighError

TWO_CLASS = RECIPE | {"kind": "two-class", "classes": [4, 9], "total": 5000, "imbalance_ratio": 200.0}
LONG_TAIL = RECIPE | {"kind": "long-tail", "largest_class": 5000, "imbalance_ratio": 10.0, "test": "all"}
GROUPS = RECIPE | {"kind": "groups", "test": "group-balanced"}

PAPER_TWO_CLASS = {
    0.3: (1153, 3846),
    0.2: (833, 4166),
    0.1: (454, 4545),
    0.05: (238, 4761),
    0.02: (98, 4901),
    0.005: (24, 4975),
}
PAPER_LONG_TAIL = {
    0.2: [5000, 4181, 3496, 2924, 2445, 2044, 1709, 1429, 1195, 999],
    0.1: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    0.05: [5000, 3584, 2569, 1842, 1320, 946, 678, 486, 348, 250],
    0.02: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    0.005: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 24],
}
PAPER_TOTALS = {0.2: 25422, 0.1: 20431, 0.05: 17023, 0.02: 13996, 0.005: 11202}


def labels_of(raw, part):
    return raw.test_labels if part == "test" else raw.train_labels


# sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", PAPER_TWO_CLASS)
def test_two_class_sizes_are_the_papers(rho, mnist):
    assert two_class_sizes(5000, 1 / rho) == PAPER_TWO_CLASS[rho]
    split = draw(mnist, TWO_CLASS | {"imbalance_ratio": 1 / rho}, seed=0)
    assert split.sizes() == {
        "train": list(PAPER_TWO_CLASS[rho]),
        "target": [25, 25],
        "validation": [0, 0],
        "test": [982, 982],
    }
    assert split.class_counts.tolist() == split.group_counts.tolist() == list(PAPER_TWO_CLASS[rho])


@pytest.mark.parametrize("rho", PAPER_LONG_TAIL)
def test_long_tail_sizes_are_the_papers(rho, mnist):
    assert long_tail_sizes(5000, 1 / rho, 10) == PAPER_LONG_TAIL[rho]
    split = draw(mnist, LONG_TAIL | {"imbalance_ratio": 1 / rho}, seed=0)
    assert split.class_counts.tolist() == PAPER_LONG_TAIL[rho]
    assert split.class_counts.sum() == PAPER_TOTALS[rho]
    assert split.sizes()["target"] == [5] * 10
    assert len(split.test) == 10000


def test_three_tenths_may_be_written_as_a_ratio_of_ten_thirds():
    assert two_class_sizes(5000, 10 / 3) == PAPER_TWO_CLASS[0.3]


def test_whole_sizes_lose_nothing_to_rounding_errors():
    assert step_sizes(4900, 49, 2) == [4900, 100] and int(4900 * (1 / 49)) == 99
    assert step_sizes(500, 10 / 9, 2) == [500, 450] and int(500 * (1 / (10 / 9))) == 449
    assert two_class_sizes(3113, 10) == (283, 2830)
    assert long_tail_sizes(3630, 10 / 9, 10, "exact")[-1] == 3267
    assert long_tail_sizes(512, 512, 10, "exact") == [2**k for k in range(9, -1, -1)]


ratios = st.tuples(st.integers(1, 300), st.integers(1, 300)).map(lambda pair: Fraction(max(pair), min(pair)))


@settings(max_examples=300, derandomize=True)
@given(ratios, st.integers(1, 200))
def test_a_ratio_is_the_fraction_that_it_was_written_as(ratio, times):
    p, q = ratio.numerator, ratio.denominator
    for written in (p / q, 1 / (q / p), float(Fraction(f"{p}/{q}"))):
        assert fraction(written) == ratio
        assert step_sizes(times * p, written, 2)[1] == times * q
        assert two_class_sizes(times * (p + q), written) == (times * q, times * p)
        assert long_tail_sizes(times * p, written, 5, "exact")[-1] == times * q


@settings(max_examples=300, derandomize=True)
@given(st.floats(1, 300), st.integers(302, 6000), st.integers(2, 12))
def test_sizes_are_the_formula_rounded_down(ratio, size, classes):
    exact = fraction(ratio)
    assert float(exact) == pytest.approx(ratio, rel=2**-51)
    tail = long_tail_sizes(size, ratio, classes, "exact")
    for place, count in enumerate(tail):
        wanted = Fraction(size) ** (classes - 1) / exact**place
        assert count ** (classes - 1) <= wanted < (count + 1) ** (classes - 1)
    assert step_sizes(size, ratio, classes)[-1] == tail[-1] == size // exact
    minority, majority = two_class_sizes(2 * size, ratio)
    assert majority == 2 * size * exact // (exact + 1) and minority == majority // exact
    assert tail == pytest.approx([size * ratio ** (-place / (classes - 1)) for place in range(classes)], abs=1.001)


def test_decimal_ratios_are_taken_as_written():
    for text in ("1.25", "58.8235", "3.1415926535", "1.0000001", "123.456789"):
        assert fraction(float(text)) == Fraction(text)


def test_label_zero_is_the_minority(mnist):
    split = draw(mnist, TWO_CLASS, seed=1)
    assert split.class_names == split.group_names == ("4", "9")
    for part in PARTS:
        drawn = getattr(split, part)
        assert np.array_equal(labels_of(mnist, part)[drawn.index], np.where(drawn.label == 0, 4, 9))
        assert np.array_equal(drawn.group, drawn.label)


def test_a_full_class_gives_its_target_first():
    full = toy([5000] * 10, [1000] * 10)
    outside = draw(full, LONG_TAIL, seed=0)
    assert outside.class_counts.tolist() == long_tail_sizes(4995, 10, 10)
    assert not set(outside.train.index) & set(outside.target.index)
    inside = draw(full, LONG_TAIL | {"target_inside": True}, seed=0)
    assert inside.class_counts.tolist() == PAPER_LONG_TAIL[0.1]
    assert np.array_equal(inside.target.index, outside.target.index)
    assert len(set(inside.train.index) & set(inside.target.index)) >= 5
    with_validation = draw(full, LONG_TAIL | {"validation_size": 100}, seed=0)
    assert with_validation.class_counts.tolist() == long_tail_sizes(4985, 10, 10)


def test_adult_is_balanced_by_sex(adult):
    split = draw(adult, GROUPS, seed=0)
    assert split.group_sizes() == {
        "train": [9782 - 25, 20380 - 25],
        "target": [25, 25],
        "validation": [0, 0],
        "test": [4913, 4913],
    }
    assert split.class_names == ("<=50K", ">50K")
    assert split.group_names == ("female", "male")
    for part in PARTS:
        drawn = getattr(split, part)
        assert np.array_equal(drawn.label, labels_of(adult, part)[drawn.index])
        groups = adult.test_groups if part == "test" else adult.train_groups
        assert np.array_equal(drawn.group, groups[drawn.index])
    whole = draw(adult, GROUPS | {"test": "all", "target_inside": True}, seed=0)
    assert (len(whole.train), len(whole.test)) == (30162, 15060)


def test_the_slice_is_enough_for_quick_experiments(raw_root):
    raw = load.read("cifar10-slice", {}, raw_root)
    for rho in (0.2, 0.1):
        split = draw(raw, LONG_TAIL | {"largest_class": 200, "imbalance_ratio": 1 / rho}, seed=0)
        assert split.class_counts.tolist() == long_tail_sizes(200, 1 / rho, 10)
        assert split.sizes()["target"] == [5] * 10
    for rho in (0.3, 0.2, 0.1, 0.05):
        split = draw(raw, TWO_CLASS | {"total": 800, "imbalance_ratio": 1 / rho}, seed=0)
        assert split.sizes()["test"] == [200, 200]


# draws ----------------------------------------------------------------------------------------------------------------


def test_streams_make_draws_comparable(mnist):
    mild, harsh = (draw(mnist, TWO_CLASS | {"imbalance_ratio": ratio}, seed=3) for ratio in (10, 200))
    assert np.array_equal(mild.target.index, harsh.target.index)
    assert np.array_equal(mild.test.index, harsh.test.index)
    minority = [set(split.train.index[split.train.label == 0]) for split in (mild, harsh)]
    assert minority[1] < minority[0]
    small, large = (draw(mnist, TWO_CLASS | {"target_size": size}, seed=3) for size in (10, 200))
    assert set(small.target.index) < set(large.target.index)


def test_seeds_differ_in_every_part(mnist):
    recipe = TWO_CLASS | {"validation_size": 100}
    first, second = draw(mnist, recipe, seed=0), draw(mnist, recipe, seed=1)
    for part in PARTS:
        assert getattr(first, part).index.tolist() != getattr(second, part).index.tolist()
    assert first.digest() != second.digest()


def test_file_order_is_the_first_of_the_file(mnist):
    recipe = TWO_CLASS | {"order": "first", "validation_size": 10}
    split = draw(mnist, recipe, seed=0)
    fours = np.flatnonzero(mnist.train_labels == 4)
    assert split.train.index[split.train.label == 0].tolist() == fours[:24].tolist()
    assert split.target.index[split.target.label == 0].tolist() == fours[-25:].tolist()
    assert split.validation.index[split.validation.label == 0].tolist() == fours[-30:-25].tolist()
    test = np.flatnonzero(mnist.test_labels == 9)
    assert split.test.index[split.test.label == 1].tolist() == test[:982].tolist()
    assert draw(mnist, recipe, seed=7).digest() == split.digest()


def test_smaller_tests_are_part_of_the_test(mnist):
    whole = draw(mnist, TWO_CLASS, seed=0)
    some = draw(mnist, TWO_CLASS | {"test_size": 500}, seed=0)
    assert some.sizes()["test"] == [250, 250]
    assert set(some.test.index) < set(whole.test.index)
    everything = draw(mnist, TWO_CLASS | {"test": "all"}, seed=0)
    assert everything.sizes()["test"] == [982, 1009]


@st.composite
def cases(draw_from):
    """A toy data set and a recipe for it, possible or not."""
    kind = draw_from(st.sampled_from(["two-class", "long-tail", "groups"]))
    classes = draw_from(st.integers(2, 5))
    sizes = st.lists(st.integers(20, 80), min_size=classes, max_size=classes)
    raw = toy(draw_from(sizes), draw_from(sizes), groups=2, seed=draw_from(st.integers(0, 3)))
    width = {"two-class": 2, "long-tail": classes, "groups": 2}[kind]
    recipe = RECIPE | {
        "kind": kind,
        "target_size": width * draw_from(st.integers(0, 8)),
        "validation_size": width * draw_from(st.integers(0, 8)),
        "target_inside": draw_from(st.booleans()),
        "order": draw_from(st.sampled_from(["random", "first"])),
        "test": draw_from(st.sampled_from(["all", "group-balanced" if kind == "groups" else "balanced"])),
        "test_size": draw_from(st.sampled_from([None, width, 4 * width])),
    }
    if kind == "two-class":
        recipe["classes"] = draw_from(st.permutations(range(classes)))[:2]
        recipe["total"] = draw_from(st.integers(5, 60))
    if kind == "long-tail":
        recipe["largest_class"] = draw_from(st.integers(5, 80))
    if kind != "groups":
        recipe["imbalance_ratio"] = draw_from(st.floats(1, 12))
    return raw, recipe, draw_from(st.integers(0, 2**40))


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
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
    grouped = recipe["kind"] == "groups"
    kept = recipe.get("classes") or list(range(len(raw.class_names)))
    for part in PARTS:
        drawn = getattr(split, part)
        assert (drawn.index.dtype, drawn.label.dtype, drawn.group.dtype) == (np.int32, np.int64, np.int64)
        assert (np.diff(drawn.index) > 0).all()
        labels = labels_of(raw, part)[drawn.index]
        assert labels.tolist() == (drawn.label.tolist() if grouped else [kept[label] for label in drawn.label])
    shares = split.group_sizes() if grouped else split.sizes()
    for part in ("target", "validation"):
        assert len(set(shares[part])) == 1
        assert sum(shares[part]) == recipe[f"{part}_size"]
    if recipe["test_size"] is not None or recipe["test"] != "all":
        assert len(set(shares["test"])) == 1
    if recipe["kind"] == "two-class":
        assert shares["train"] == list(two_class_sizes(recipe["total"], recipe["imbalance_ratio"]))
        assert shares["train"][0] <= shares["train"][1]
    if recipe["kind"] == "long-tail":
        assert shares["train"] == sorted(shares["train"], reverse=True)
        assert shares["train"][0] <= recipe["largest_class"]
    assert draw(raw, recipe, seed).digest() == split.digest()
    back = Split.from_bytes(split.to_bytes())
    assert back.digest() == split.digest()
    assert back.to_bytes() == split.to_bytes()
    assert back.sizes() == split.sizes()


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0, -5, 0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("recipe", [TWO_CLASS, LONG_TAIL], ids=["two-class", "long-tail"])
def test_impossible_ratios_are_refused(mnist, ratio, recipe):
    with pytest.raises(ConfigError, match="is impossible: it is largest / smallest class"):
        draw(mnist, recipe | {"imbalance_ratio": ratio}, seed=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"imbalance_ratio": 6000}, ConfigError, "leaves no minority example"),
        ({"total": 0}, ConfigError, "total 0 is impossible"),
        ({"total": 12000}, DataError, "examples wanted as subsample of '9', but only 5924"),
        ({"imbalance_ratio": 1, "total": 11800}, DataError, "as subsample of '4', but only 5817"),
        ({"target_size": 51}, ConfigError, "target_size 51 cannot be shared evenly over 2"),
        ({"target_size": -2}, ConfigError, "target_size -2 cannot"),
        ({"target_size": 20000}, DataError, "10000 examples wanted as target of '4', but only 5842"),
        ({"target_size": 10000, "total": 1700}, DataError, "as subsample of '9', but only 949"),
        ({"validation_size": 3}, ConfigError, "validation_size 3 cannot be shared evenly"),
        ({"validation_size": 11700}, DataError, "as validation of '4', but only 5817"),
        ({"test_size": 1966}, DataError, "983 examples wanted as test of '4', but only 982"),
        ({"test_size": 7}, ConfigError, "test_size 7 cannot be shared evenly"),
        ({"classes": [4, 12]}, ConfigError, "no class 12; known: 0 to 9"),
        ({"classes": [4, 4]}, ConfigError, "two different classes"),
        ({"classes": [4]}, ConfigError, "two different classes"),
        ({"kind": "two_class"}, ConfigError, "'two_class' is unknown; known: two-class, long-tail, step, all, groups"),
        ({"order": "last"}, ConfigError, "split order 'last' is unknown"),
        ({"test": "group-balanced"}, ConfigError, "does not go with kind 'two-class'"),
        ({"kind": "groups", "test": "all"}, ConfigError, "needs a data set that has groups"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(mnist, change, error, message):
    with pytest.raises(error, match=message) as caught:
        draw(mnist, TWO_CLASS | change, seed=0)
    assert "\n" not in str(caught.value)


def test_an_even_test_set_of_a_class_that_is_not_there_is_refused_by_name(mnist):
    """Else it would be empty, and a run would finish without an accuracy."""
    there = mnist.test_labels != 7
    without = replace(mnist, test_inputs=mnist.test_inputs[there], test_labels=mnist.test_labels[there])
    recipe = LONG_TAIL | {"largest_class": 100, "test": "balanced"}
    with pytest.raises(DataError, match=r"the test part has no example of 7, so .* use test: all") as caught:
        draw(without, recipe, seed=0)
    assert "\n" not in str(caught.value)
    assert len(draw(without, recipe | {"test": "all"}, seed=0).test) == there.sum()


def test_impossible_long_tails_are_refused(mnist):
    with pytest.raises(DataError, match="6000 examples wanted as subsample of '0', but only 5918"):
        draw(mnist, LONG_TAIL | {"largest_class": 6000}, seed=0)
    with pytest.raises(ConfigError, match="leaves no example of class 9"):
        draw(mnist, LONG_TAIL | {"imbalance_ratio": 50000}, seed=0)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        long_tail_sizes(10, 2, 1)


# digest -------------------------------------------------------------------------------------------------------------


def test_digest_sees_every_array_and_name(mnist):
    split = draw(mnist, TWO_CLASS | {"validation_size": 10}, seed=0)
    changed = [replace(split, class_names=("4", "8")), replace(split, group_names=("4", "8"))]
    for part in PARTS:
        drawn = getattr(split, part)
        for field in ("index", "label", "group"):
            other = getattr(drawn, field).copy()
            other[0] += 1
            changed.append(replace(split, **{part: replace(drawn, **{field: other})}))
    assert len({split.digest(), *(other.digest() for other in changed)}) == 15
