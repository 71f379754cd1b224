"""Noise that depends on the image: by hand, against a slow copy of the description, on real images, through a split."""

import math

import numpy as np
import pytest
from scipy import stats
from support import needs
from support.needs import MIRROR_FOLDER

from reweigh.data import instance_noise, load, obtain
from reweigh.data.arrays import RawData
from reweigh.data.instance_noise import flip_rates, instance, probabilities
from reweigh.data.noise import noisy, realised
from reweigh.data.split import draw
from reweigh.errors import ConfigError
from reweigh.streams import rng

ALL = {"kind": "all", "target_size": 0, "target_inside": False, "validation_size": 0, "order": "random", "test": "all"}
NOISE = {"kind": "instance", "rate": 0.3}
OLD = np.random.RandomState


def images(count, classes=10, side=8, seed=0, scale=256):
    """Images of noise, uint8 (N, 3, side, side), and labels; `scale` says how bright they can be."""
    generator = np.random.default_rng(seed)
    inputs = generator.integers(0, scale, (count, 3, side, side), dtype=np.uint8)
    return inputs, generator.integers(0, classes, count)


# by hand --------------------------------------------------------------------------------------------------------------


class Scripted:
    """A generator that draws what it is told, and writes down in which order it was asked."""

    def __init__(self, normals, uniforms):
        self.normals, self.uniforms, self.asked = normals, uniforms, []

    def standard_normal(self, size):
        self.asked.append(("normal", size))
        return np.array(self.normals.pop(0), float).reshape(size)

    def uniform(self, size):
        self.asked.append(("uniform", size))
        return np.array(self.uniforms)


def test_two_images_by_hand(monkeypatch):
    """An image (1, 2) of class 0 and one (2, 0) of class 2, of three classes, of two pixels."""
    monkeypatch.setattr(instance_noise, "flip_rates", lambda count, rate, generator: np.array([0.4, 0.5]))
    log3 = math.log(3)
    # Class 0: a = (·, 1·0 + 2·log3/2, 1·2 + 2·(−1)) = (·, log 3, 0): shares 3/4 and 1/4, its own aside.
    # Class 2: a = (2·0, 2·log3/2, ·) = (0, log 3, ·): shares 1/4 and 3/4.
    matrices = [[[50, 0, 2], [50, log3 / 2, -1]], np.zeros((2, 3)), [[0, log3 / 2, 9], [7, 7, 7]]]
    inputs, labels = np.array([[[[1, 2]]], [[[2, 0]]]], np.uint8), np.array([0, 2])
    chances = probabilities(inputs, labels, 3, 0.3, Scripted([*matrices], []))
    assert chances == pytest.approx(np.array([[0.6, 0.3, 0.1], [0.125, 0.375, 0.5]]), rel=1e-6)
    for uniforms, drawn in (
        ((0.59, 0.12), [0, 0]),
        ((0.61, 0.13), [1, 1]),
        ((0.89, 0.49), [1, 1]),
        ((0.91, 0.51), [2, 2]),
        ((0.9999999, 0.0), [2, 0]),
    ):
        generator = Scripted([*matrices], uniforms)
        assert instance(inputs, labels, 3, 0.3, generator).tolist() == drawn, uniforms
        assert generator.asked == [("normal", (2, 3))] * 3 + [("uniform", 2)]  # one for each class, then the labels


def test_ties_and_borders_by_hand(monkeypatch):
    """W counts as float32, in which 10⁹ + 1 is 10⁹; a number that is a sum of probabilities belongs to what follows."""
    monkeypatch.setattr(instance_noise, "flip_rates", lambda count, rate, generator: np.array([0.5]))
    inputs, labels = np.array([[[[1]]]], np.uint8), np.array([2])
    for uniform, drawn in ((0.0, 0), (0.2499, 0), (0.25, 1), (0.4999, 1), (0.5, 2), (0.9999, 2)):
        script = Scripted([[0, 0, 0], [0, 0, 0], [1e9 + 1, 1e9, 0]], [uniform])
        assert instance(inputs, labels, 3, 0.3, script).tolist() == [drawn], uniform


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_rates_are_normal_and_cut_off(rate):
    rates = flip_rates(20000, rate, rng(0, "x"))
    assert rates.min() >= 0 and rates.max() <= 1
    phi, cdf = (lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)), (lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
    low, high = -rate / 0.1, (1 - rate) / 0.1
    mass = cdf(high) - cdf(low)
    assert rates.mean() == pytest.approx(rate + 0.1 * (phi(low) - phi(high)) / mass, abs=4 * 0.1 / math.sqrt(20000))
    distance = stats.kstest(rates, lambda x: (np.vectorize(cdf)((x - rate) / 0.1) - cdf(low)) / mass)
    assert distance.pvalue > 0.001


# the description, one example after the other -------------------------------------------------------------------------


def described(inputs, labels, classes, rate, seed):
    """The authors' generator, step by step: all rates, all of W, then probabilities, then labels one by one."""
    old = OLD(seed)
    spread = 0.1
    rates = stats.truncnorm((0 - rate) / spread, (1 - rate) / spread, loc=rate, scale=spread)
    rates = rates.rvs(len(labels), random_state=old)
    weights = old.randn(classes, inputs[0].size, classes).astype(np.float32)
    rows = []
    for x, y, r in zip(inputs, labels, rates, strict=True):
        scores = [math.fsum(float(a) * float(b) for a, b in zip(x.ravel(), weights[y][:, k], strict=True))
                  for k in range(classes)]  # fmt: skip
        top = max(score for k, score in enumerate(scores) if k != y)
        powers = [0.0 if k == y else math.exp(score - top) for k, score in enumerate(scores)]
        row = np.float32(r) * np.array([power / math.fsum(powers) for power in powers], np.float32)
        row[y] += np.float32(1 - r)
        rows.append(row)
    return np.array([old.choice(list(range(classes)), p=row) for row in rows])


@pytest.mark.parametrize(("classes", "seed", "scale"), [(10, 5, 256), (10, 1, 256), (4, 7, 2), (100, 3, 256)])
def test_it_draws_what_the_description_says(classes, seed, scale):
    """Also on dark images, whose softmax is soft."""
    inputs, labels = images(150, classes, side=4, scale=scale)
    given = instance(inputs, labels, classes, 0.3, OLD(seed))
    assert np.array_equal(given, described(inputs, labels, classes, 0.3, seed))
    assert given.dtype == np.int64 and 0.15 < (given != labels).mean() < 0.45


def test_blocks_of_rows_change_nothing(monkeypatch):
    inputs, labels = images(300, 3)
    whole = instance(inputs, labels, 3, 0.3, OLD(5))
    monkeypatch.setattr(instance_noise, "ROWS", 7)
    assert np.array_equal(instance(inputs, labels, 3, 0.3, OLD(5)), whole)


def test_labels_of_the_first_examples_depend_on_how_many_there_are():
    inputs, labels = images(400)
    whole, half = (instance(inputs[:n], labels[:n], 10, 0.3, OLD(5)) for n in (400, 200))
    assert (whole[:200] != half).mean() > 0.2


def test_it_leaves_its_inputs_alone_and_repeats():
    inputs, labels = images(50)
    before = inputs.copy(), labels.copy()
    for generator in (OLD, lambda seed: rng(seed, "noise")):
        first, second, other = (instance(inputs, labels, 10, 0.3, generator(seed)) for seed in (1, 1, 2))
        assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert np.array_equal(inputs, before[0]) and np.array_equal(labels, before[1])


# real images ----------------------------------------------------------------------------------------------------------


def confusers(inputs, labels, classes, seed):
    """Of each image, the class that it is taken for, and the share that this has among the wrong ones."""
    chances = probabilities(inputs, labels, classes, 0.3, OLD(seed))
    wrong = chances.copy()
    wrong[np.arange(len(labels)), labels] = 0
    return wrong.argmax(1), wrong.max(1) / wrong.sum(1), wrong.sum(1)


@needs.MIRROR
@pytest.mark.parametrize("seed", [1, 5])
def test_on_cifar10_the_rate_is_right_and_almost_every_image_has_one_confuser(seed):
    inputs = np.load(MIRROR_FOLDER / "cifar-10" / "images.npy", mmap_mode="r")[:50000]
    inputs, labels = np.array(inputs), np.load(MIRROR_FOLDER / "cifar-10" / "labels.npy")[:50000].astype(np.int64)
    given = instance(inputs, labels, 10, 0.3, OLD(seed))
    said = realised(labels, given, 10)
    assert 0.29 <= said["rate"] <= 0.31
    assert all(0.27 < rate < 0.33 for rate in said["class_rates"])
    taken_for, share, wrong = confusers(inputs, labels, 10, seed)
    assert (share > 0.999).mean() > 0.995
    flipped = given != labels
    assert (given[flipped] == taken_for[flipped]).mean() > 0.995
    assert wrong.mean() == pytest.approx(0.3, abs=0.002)


def test_small_pixels_make_softer_noise(raw_root):
    """On pixels from 0 to 255 one class takes it all; shrunk to a few units, as from 0 to 1, several do."""
    raw = load.read("cifar10-slice-large", {}, raw_root)
    _, bright, _ = confusers(raw.train_inputs, raw.train_labels, 10, 5)
    _, dark, _ = confusers(raw.train_inputs // 128, raw.train_labels, 10, 5)
    assert (bright > 0.999).mean() > 0.99 > 0.9 > (dark > 0.999).mean()


# splits ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw():
    inputs, labels = images(400)
    return RawData(inputs, labels, inputs[:20], labels[:20], class_names=tuple(f"class {k}" for k in range(10)))


@pytest.mark.parametrize("order", ["legacy", "random"])
def test_a_split_draws_noise_for_all_images_and_then_holds_some_out(raw, order):
    recipe = ALL | {"noise": NOISE, "order": order, "validation_share": 0.1, "validation_rounding": "up"}
    drawn = draw(raw, recipe, 5)
    generator = OLD(5) if order == "legacy" else rng(5, "noise", "instance")
    expected = instance(raw.train_inputs, raw.train_labels, 10, 0.3, generator)
    both = drawn.train.joined(drawn.validation)
    assert sorted(both.index.tolist()) == list(range(400))
    assert np.array_equal(both.label, expected[both.index]) and np.array_equal(both.group, both.label)
    assert 40 <= len(drawn.validation) <= 50
    assert (drawn.validation.label != raw.train_labels[drawn.validation.index]).any()  # as noisy as the rest
    assert np.array_equal(drawn.test.label, raw.test_labels)


def test_targets_inside_stay_clean(raw):
    drawn = draw(raw, ALL | {"noise": NOISE, "target_size": 30, "target_inside": True}, 0)
    assert len(drawn.train) == 400 and np.array_equal(drawn.target.label, raw.train_labels[drawn.target.index])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "long-tail", "largest_class": 20, "imbalance_ratio": 2.0}, "and kind long-tail keeps a part of it"),
        ({"kind": "two-class", "classes": [0, 1], "total": 20, "imbalance_ratio": 1.0}, "and kind two-class keeps"),
        ({"validation_size": 10}, "and validation_size takes examples out of it; use validation_share"),
        ({"target_size": 10}, "and target_size takes examples out of it; set target_inside"),
        ({"noise": NOISE | {"rate": 0.0}}, "with rate 0 would change labels all the same; leave noise out"),
    ],
)
def test_a_split_that_keeps_only_some_images_is_refused(raw, change, says):
    with pytest.raises(ConfigError) as refused:
        draw(raw, ALL | {"noise": NOISE} | change, 0)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_no_image_in_memory_is_refused(raw):
    features = np.zeros((400, 5), np.float32)
    for inputs in (features, None):
        with pytest.raises(ConfigError, match="looks at the images, which have to be in memory; use symmetric"):
            noisy(raw.train_labels, raw.class_names, NOISE, OLD(0), inputs)
    with pytest.raises(ConfigError, match="rate 0 is impossible for kind 'instance'"):
        noisy(raw.train_labels, raw.class_names, NOISE | {"rate": 0}, OLD(0), raw.train_inputs)


def test_the_report_of_a_split_states_the_realised_noise(project, raw_root):
    recipe = ALL | {"noise": NOISE, "validation_share": 0.1, "order": "legacy"}
    spec = {"scale": "smoke", "paper": "molere", "experiment": "noise", "setting": "s", "method": "sgd", "seed": 5}
    spec["data"] = {"dataset": "cifar10-slice-large", "options": {}, "split": recipe}
    said = obtain.describe(spec, project)
    split, given = obtain.obtain(spec, project), load.read("cifar10-slice-large", {}, raw_root)
    assert {name: said["noise"][name] for name in NOISE} == NOISE
    for name, part in (("train", split.train), ("validation", split.validation)):
        assert said["noise"][name] == realised(given.train_labels[part.index], part.label, 10)
        assert 0.2 < said["noise"][name]["rate"] < 0.4
    assert sum(said["noise"]["train"]["sizes"]) + sum(said["noise"]["validation"]["sizes"]) == len(given.train_labels)
