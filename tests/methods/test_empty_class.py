"""A class that noise left without a training example: no method's weights are lost to it, and what has no meaning is
refused. The splits are real ones: the slice of CIFAR-100, long-tailed (ratio 15), with asymmetric noise of rate 0.4.
"""

import copy

import numpy as np
import pytest
import torch
from support import every_method
from support.project import ROOT

from reweigh.config import loading as config
from reweigh.data import load, obtain
from reweigh.data.split import draw
from reweigh.errors import ConfigError
from reweigh.training.engine import Run

RECIPE = {
    "kind": "long-tail",
    "largest_class": 30,
    "imbalance_ratio": 15.0,
    "rounding": "exact",
    "target_size": 0,
    "target_inside": False,
    "validation_size": 0,
    "order": "random",
    "noise": {"kind": "asymmetric", "rate": 0.4},
    "test": "all",
    "test_size": 40,
}
GUIDED = RECIPE | {"target_size": 20, "validation_size": 40, "largest_class": 27}
CASES = every_method.cases()
NAMES = [f"{name}-{sum(one == name for one, _ in CASES[:place])}" for place, (name, _) in enumerate(CASES)]


@pytest.fixture(scope="module")
def slice_of_cifar(raw_root):
    return load.read("cifar100-slice", {}, raw_root)


@pytest.fixture(scope="module")
def empty(slice_of_cifar):
    """A seed whose split leaves a class empty, that split, and the class."""
    splits = ((seed, draw(slice_of_cifar, GUIDED, seed)) for seed in range(200))
    seed, split = next((seed, split) for seed, split in splits if not split.class_counts.all())
    return seed, split, int(np.flatnonzero(split.class_counts == 0)[0])


def run_of(uses, options, raw, empty, **training):
    """A run of a small net on the split with an empty class."""
    seed, split, _ = empty
    spec = copy.deepcopy(config.resolve("smoke/tdr/cifar10-4v9-convnet/rho0.3/tdr/seed0"))
    spec.update(method="tested", uses=uses, method_options=copy.deepcopy(dict(options)), seed=seed)
    spec["data"] |= {"dataset": "cifar100-slice", "options": {}, "split": GUIDED, "augment": "none"}
    spec["model"] = {"name": "convnet", "options": {"width": 0.125}}
    spec["training"].update({"epochs": 3, "batch_size": 16, "target_batch_size": 10, "drop_last": False} | training)
    torch.set_num_threads(1)
    return Run(spec, raw, split, torch.device("cpu"))


def test_43_of_200_seeds_leave_a_class_empty(slice_of_cifar):
    splits = [draw(slice_of_cifar, RECIPE, seed) for seed in range(200)]
    assert sum(not split.class_counts.all() for split in splits) == 43
    for split in splits:
        missing = [split.class_names[k] for k in np.flatnonzero(split.class_counts == 0)]
        assert split.missing == missing


@pytest.mark.parametrize(("uses", "options"), CASES, ids=NAMES)
def test_every_method_trains_on_the_classes_that_exist(uses, options, slice_of_cifar, empty):
    if (options.get("loss") or {}).get("truncation"):  # after an epoch, no example of 20 classes has half of the odds
        options = {**options, "loss": {**options["loss"], "truncation": 0.04}}
    if options.get("threshold"):  # it is of two classes, and these are twenty
        options = {**options, "threshold": None}
    if options.get("layers"):  # the net has a third and a fourth convolution instead of a second hidden layer
        options = {**options, "layers": ["conv*", "fc1"]}
    run = run_of(uses, options, slice_of_cifar, empty)
    run.finish()
    assert run.diverged_at is None
    for loss, weight in zip(run.curves["train_loss"], run.curves["effective_weight"], strict=True):
        assert loss is not None and weight is not None and weight > 0
    assert run.results()["status"] == "finished"
    for name, rows in run.trace().items():
        assert np.isfinite(rows).all(), name
    weights = getattr(run.method, "class_weights", None)
    if weights is not None:
        there = run.method.context.class_counts > 0
        assert torch.isfinite(weights).all() and weights.sum().item() == pytest.approx(19 if not there.all() else 20)
        assert (weights[there] > 0).all() and (weights[~there] == 0).all()


def test_class_weights_of_tdr_have_no_part_for_the_empty_class(slice_of_cifar, empty):
    options = dict(CASES)["tdr"]
    for normalisation in ("class", "batch"):
        run = run_of("tdr", {**options, "normalisation": normalisation}, slice_of_cifar, empty)
        assert run.method.weights[empty[2]] == 0
        assert run.method.weights.sum().item() == pytest.approx(1)
        run.finish()
        assert (run.trace()["class_weights"][:, empty[2]] == 0).all()
        after, collapsed = run.method.projected(torch.full_like(run.method.weights, -1.0))
        assert collapsed and after[empty[2]] == 0 and after.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("scale", ["simplex", "mean"])
def test_hard_weights_are_those_of_the_other_classes(scale, slice_of_cifar, empty):
    weights = run_of("hard", {"scale": scale}, slice_of_cifar, empty).method.weights
    assert weights[empty[2]] == 0
    assert weights.sum().item() == pytest.approx(1 if scale == "simplex" else 19)


def test_a_c_th_of_the_mean_counts_the_classes_that_exist(slice_of_cifar, empty):
    run = run_of("none", {"scale": "1c"}, slice_of_cifar, empty)
    assert run.method.example_weights(None, torch.zeros(16)).sum().item() == pytest.approx(1 / 19)


def test_random_class_weights_are_shared_by_the_classes_that_exist(slice_of_cifar, empty):
    options = next(one for name, one in CASES if name == "random_weights" and one["per"] == "class")
    run = run_of("random_weights", options, slice_of_cifar, empty)
    for number in range(20):
        drawn = run.method.draw(20, number)
        assert drawn[empty[2]] == 0
        assert drawn.sum().item() == pytest.approx(1)


LDAM = {"name": "ldam", "max_margin": 0.5, "scale": 2.0}


def test_meta_is_refused_where_its_loss_has_no_meaning_for_the_meta_set(slice_of_cifar, empty):
    options = next(one for name, one in CASES if name == "meta") | {"from_epoch": 0, "loss": LDAM}
    with pytest.raises(ConfigError, match=rf"meta: class {empty[2]} has no training example") as refused:
        run_of("meta", {**options, "meta_loss": "own"}, slice_of_cifar, empty)
    assert "set meta_loss to cross_entropy" in str(refused.value) and "\n" not in str(refused.value)
    run = run_of("meta", {**options, "meta_loss": "cross_entropy"}, slice_of_cifar, empty)
    run.finish()
    assert run.diverged_at is None and all(weight > 0 for weight in run.curves["effective_weight"])


def test_the_split_says_which_class_is_empty(tmp_path, raw_root, empty):
    seed, split, label = empty
    data = {"dataset": "cifar100-slice", "options": {}, "split": GUIDED}
    names = {"scale": "smoke", "paper": "p", "experiment": "e", "setting": "s", "method": "m", "seed": seed}
    (tmp_path / "raw").symlink_to(raw_root)
    (tmp_path / "manifest.yaml").symlink_to(ROOT / "data" / "manifest.yaml")
    described = obtain.describe(names | {"data": data}, tmp_path)
    assert described["missing"] == [split.class_names[label]]
    assert obtain.summary(described).endswith(f"; without training examples: {split.class_names[label]}")
    whole = names | {"data": data | {"split": {**GUIDED, "noise": None}}}
    assert "missing" not in obtain.describe(whole, tmp_path)
