"""Sizes and batches that cannot be are refused by the config: just those that the draw, or the first epoch, would."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_files import replace
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.config import checks, known_sizes, needs, sizes
from reweigh.config.cards import PlannedStage, card_of
from reweigh.config.loading import load
from reweigh.config.methods.two_stage import SECOND
from reweigh.config.modules import modules
from reweigh.data.arrays import RawData
from reweigh.data.sampling import epoch_size
from reweigh.data.split import draw
from reweigh.errors import ConfigError, ReweighError
from reweigh.models import build


def toy(dataset):
    """A data set with the class sizes, or group sizes, of a real one, and no inputs."""
    grouped = dataset in known_sizes.GROUP_SIZES
    by_class = known_sizes.CLASS_SIZES.get(dataset), known_sizes.TEST_SIZES.get(dataset)
    train, test = known_sizes.GROUP_SIZES[dataset] if grouped else by_class
    values = [np.repeat(np.arange(len(part)), part) for part in (train, test)]
    names = tuple(f"class {k}" for k in range(len(train)))
    inputs = [np.zeros((len(part), 1), np.float32) for part in values]
    groups = {"train_groups": values[0], "test_groups": values[1], "group_names": names} if grouped else {}
    return RawData(inputs[0], values[0], inputs[1], values[1], class_names=names, **groups)


TOYS = {name: toy(name) for name in ("cifar10-slice", "cifar100-slice", "adult")}


@st.composite
def cases(draw_from):
    dataset = draw_from(st.sampled_from(list(TOYS)))
    kind = "groups" if dataset == "adult" else draw_from(st.sampled_from(["two-class", "long-tail", "step", "all"]))
    width = len(TOYS[dataset].class_names) if kind != "two-class" else 2
    each = st.integers(0, 40) | st.integers(0, 11000 if dataset == "adult" else 250)
    parts = {name: width * draw_from(each) + draw_from(st.sampled_from([0, 0, 0, 1])) for name in ("target", "test")}
    split = {
        "kind": kind,
        "target_size": parts["target"],
        "target_inside": draw_from(st.booleans()),
        "validation_size": width * draw_from(st.sampled_from([0, 1, 30])),
        "order": draw_from(st.sampled_from(["random", "first"])),
        "test": "group-balanced" if kind == "groups" else "balanced",
        "test_size": parts["test"] or None,
    }
    if kind == "all" and not split["validation_size"] and draw_from(st.booleans()):
        split["validation_share"] = draw_from(st.sampled_from([0.1, 0.5, 0.9]))
    if kind == "two-class":
        split |= {"classes": draw_from(st.permutations(range(width + 8)))[:2], "total": draw_from(st.integers(2, 900))}
    if kind in ("long-tail", "step"):
        split["largest_class"] = draw_from(st.integers(1, 900))
    if kind not in ("groups", "all"):
        split["imbalance_ratio"] = draw_from(st.sampled_from([1.0, 2.5, 10 / 3, 20.0, 100.0]))
    return dataset, split


def refused(check, *arguments):
    try:
        check(*arguments)
    except ReweighError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    return said


@settings(max_examples=400, deadline=None, derandomize=True)
@given(cases())
def test_the_config_refuses_what_cannot_be_drawn(case):
    dataset, split = case
    data = {"dataset": dataset, "options": {}, "split": split}
    by_config, by_draw = refused(sizes.check, data, "here"), refused(draw, TOYS[dataset], split, 0)
    if by_draw is None and not draw(TOYS[dataset], split, 0).group_counts.all():
        assert by_config and "(1 to train on)" in by_config
    else:
        assert (by_config is None) == (by_draw is None), (by_config, by_draw)
    if by_config is None and dataset != "adult":
        drawn = draw(TOYS[dataset], split, 0)
        assert np.bincount(drawn.train.label, minlength=len(drawn.class_counts)).tolist() == sizes.training_sizes(data)


def test_the_largest_class_starts_from_what_its_target_examples_leave():
    split = {"kind": "long-tail", "largest_class": 5000, "imbalance_ratio": 100.0, "rounding": "exact"}
    split |= {"target_size": 50, "target_inside": False, "validation_size": 0, "order": "random", "test": "balanced"}
    data = {"dataset": "cifar10", "options": {}, "split": {**split, "test_size": None}}
    assert refused(sizes.check, data, "here") is None
    assert sizes.training_sizes(data)[0] == 4995
    data["split"]["largest_class"] = 5001
    assert "class 0 needs 5006 images (5001 to train on), cifar10 has 5000" in refused(sizes.check, data, "here")


@pytest.mark.parametrize(
    ("dataset", "split", "says"),
    [
        ("adult", {"kind": "groups", "target_size": 51}, "target_size 51 cannot be shared evenly over 2"),
        ("adult", {"kind": "groups", "target_size": 20000}, "group 0 needs 10001 images (1 to train on), adult has"),
        ("adult", {"kind": "groups", "test_size": 9828}, "test_size asks for 4914 images of group 0, adult has 4913"),
        ("cifar10n", {"kind": "all", "test_size": 99}, "test_size 99 cannot be shared evenly over 10"),
        ("imagenet-lt", {"kind": "all", "validation_size": 1500}, "cannot be shared evenly over 1000"),
        ("mnist", {"kind": "all", "test_size": 10000}, "test_size asks for 1000 images of class 0, mnist has 980"),
        ("mnist", {"kind": "all", "target_size": 59990}, "class 0 needs 6000 images (1 to train on), mnist has 5923"),
        ("mnist", {"kind": "all", "target_inside": True, "target_size": 54000, "validation_share": 0.1},
         "class 0 needs 5992 images (5331 to train on), mnist has 5923"),
        ("mnist", {"kind": "groups"}, "kind groups needs a data set that has groups, mnist has none; use all"),
        ("mnist", {"kind": "all", "test": "group-balanced"},
         "test group-balanced does not go with kind all; use balanced or all"),
        ("adult", {"kind": "groups", "test": "balanced"},
         "test balanced does not go with kind groups; use group-balanced or all"),
        ("mnist", {"kind": "step", "largest_class": 30, "imbalance_ratio": 1.0, "validation_share": 0.03},
         "validation_share 0.03 holds nothing out of 300 examples (it is taken of each class, rounded down); raise it"),
        ("adult", {"kind": "groups", "validation_share": 1e-9}, "holds nothing out of 30162 examples (it is taken of"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_are_refused(dataset, split, says):
    base = {"target_size": 0, "target_inside": False, "validation_size": 0, "order": "random"}
    base |= {"test": "group-balanced" if split["kind"] == "groups" else "balanced", "test_size": None}
    with pytest.raises(ConfigError) as error:
        sizes.check({"dataset": dataset, "options": {}, "split": base | split}, "here")
    assert str(error.value).startswith("here: ") and says in str(error.value)


# batches --------------------------------------------------------------------------------------------------------------


def test_which_models_have_batch_norm_is_read_from_their_source():
    shapes = {"lenet": (1, 28, 28), "lenet_dropout": (1, 28, 28), "mlp": (104,), "linear": (512,), "mlp_head": (512,)}
    models = sorted(modules("models", "build"))
    assert len(models) >= 8
    options = {"resnet_cifar": {"depth": 18, "width": 0.125}, "torchvision_resnet": {"depth": 50}}
    options["wrn"] = {"depth": 10, "width": 1}
    for name in models:
        model = build(name, shapes.get(name, (3, 32, 32)), 2, 0, **options.get(name, {}))
        assert checks.has_batch_norm(name) == any(isinstance(layer, _BatchNorm) for layer in model.modules()), name


def spec_of(data, model="resnet32", uses="none", options=None, **training):
    base = {"target_size": 0, "target_inside": False, "validation_size": 0, "order": "random", "test_size": None}
    block = {"epochs": 2, "batch_size": 16, "target_batch_size": 10, "drop_last": False}
    return {
        "data": {"dataset": "cifar100-slice", "options": {}, "split": base | data},
        "model": {"name": model, "options": {}},
        "uses": uses,
        "method_options": options or {"scale": "mean"},
        "training": block | training,
    }


STEP = {"kind": "step", "largest_class": 8, "imbalance_ratio": 1.0}  # 20 classes: 160 examples


def test_a_last_batch_of_one_is_refused_under_batch_norm():
    def check(spec):
        return refused(sizes.check_batches, spec, checks.has_batch_norm(spec["model"]["name"]), "here")

    said = check(spec_of(STEP, batch_size=53))
    assert said == (
        "here: the last batch of an epoch (160 examples, batch_size 53) has one example, which batch norm "
        "(model resnet32) cannot normalise; change batch_size, or set drop_last"
    )
    assert check(spec_of(STEP, batch_size=1)) and check(spec_of(STEP, batch_size=1, drop_last=True))
    assert check(spec_of(STEP, batch_size=159))
    for fine in (
        spec_of(STEP, batch_size=53, drop_last=True),
        spec_of(STEP, batch_size=53, model="convnet"),
        spec_of(STEP, batch_size=52),
        spec_of(STEP, batch_size=160),
    ):
        assert check(fine) is None


def test_stages_count_by_what_they_train_on(monkeypatch):
    tail = {"kind": "long-tail", "largest_class": 8, "imbalance_ratio": 8.0, "rounding": "exact"}
    examples = sum(sizes.training_sizes(spec_of(tail)["data"]))

    def check(stages, **training):
        monkeypatch.setattr(sizes, "card_of", lambda method: type("Card", (), {"stages": lambda *options: stages}))
        return refused(sizes.check_batches, spec_of(tail, **training), True, "here")

    assert check([PlannedStage(2)], batch_size=examples - 1)
    first = PlannedStage(2)
    assert check([first], batch_size=16) is None
    # 8 examples in each of 20 classes are 160 draws of class-aware sampling.
    assert "(160 examples, batch_size 53)" in check([first, PlannedStage(2, "class-aware", 53)])
    assert check([first, PlannedStage(0, "class-aware", 53)]) is None
    assert check([first, PlannedStage(2, "class-aware", 53, train="head")]) is None  # batch norm stays as it is
    assert "batch_size is 161, but an epoch has only 160" in check([first, PlannedStage(2, "class-aware", 161, "head")])


def test_second_stages_of_kang_et_al_train_no_batch_norm():
    stages = card_of("crt").stages({"stage_one": {"sampling": "uniform"}, "second_stage": SECOND}, 3)
    assert [(stage.epochs, stage.train) for stage in stages] == [(3, "all"), (2, "head")]


def test_batches_larger_than_what_there_is_are_refused():
    said = refused(sizes.check_batches, spec_of(STEP, batch_size=161, drop_last=True), False, "here")
    assert said == "here: batch_size is 161, but an epoch has only 160 examples; lower it"
    said = refused(sizes.check_batches, spec_of(STEP | {"target_size": 20}, target_batch_size=21), False, "here")
    assert said == "here: target_batch_size is 21, but target_size only 20; lower it"
    assert refused(sizes.check_batches, spec_of(STEP, target_batch_size=21), False, "here") is None


def test_a_part_that_is_measured_holds_something():
    said = refused(sizes.check_batches, spec_of(STEP, evaluate_on="validation"), False, "here")
    assert said == "here: evaluate_on is validation, but nothing is held out; set validation_share"
    for held_out in ({"validation_share": 0.25}, {"validation_size": 20}):
        assert refused(sizes.check_batches, spec_of(STEP | held_out, evaluate_on="validation"), False, "here") is None


def test_in_the_config_they_are_refused_before_any_job(project):
    # CIFAR-10, long-tailed at ratio 100, are 12,406 images = 15 · 827 + 1.
    replace(project, "batch_size: { value: 128,", "batch_size: { value: 15,", "config/protocols/cifar-resnet32.yaml")
    with pytest.raises(ConfigError) as error:
        load(project)
    said = str(error.value)
    assert said.startswith("config/papers/absgd/experiments/") and "\n" not in said
    assert "lt-rho100, scale paper, method sgd_ce: the last batch of an epoch (12406 examples, batch_size 15)" in said


def test_a_method_without_the_part_that_it_learns_from_is_refused_before_any_job(project):
    split = 'target_size: { value: 50, source: "ours: as on MNIST, 25 a sex; the paper does not say" }'
    path = "config/papers/tdr/experiments/adult.yaml"
    replace(project, split, split.replace("50", "0"), path)
    with pytest.raises(ConfigError) as error:
        load(project)
    said = str(error.value)
    assert said.startswith(path) and "\n" not in said
    assert said.endswith("method tdr_p: tdr learns from a target set, but target_size is 0; ask for some")


@pytest.mark.parametrize(
    ("uses", "split", "says"),
    [
        ("er", {"target_size": 0}, "er learns from a target set"),
        ("none", {"target_size": 0}, None),
        ("tau_norm", {"target_size": 0}, "tau_norm needs examples held out of the training set"),
        ("tau_norm", {"target_size": 0, "validation_share": 0.1}, None),
        ("tau_norm", {"target_size": 0, "validation_size": 10}, None),
        ("er", {"target_size": 10}, None),
    ],
)
def test_what_a_method_learns_from_must_be_there(uses, split, says):
    options = card_of(uses).examples[0]
    spec = {
        "uses": uses,
        "method_options": options,
        "training": {"epochs": 2},
        "model": {"name": "lenet", "options": {}},
        "data": {"dataset": "mnist", "split": {"kind": "all", "validation_size": 0, **split}},
    }
    said = refused(needs.check, spec, "here")
    assert said is None if says is None else str(said).startswith(f"here: {says}")


BOTH_PARTS = [PlannedStage(1), PlannedStage(1, part="train+validation")]  # a search, and a retraining on all


@pytest.mark.parametrize(
    ("training", "stages", "refuses"),
    [
        ({"evaluate_on": "validation"}, BOTH_PARTS, True),
        ({"evaluate_on": "validation"}, BOTH_PARTS[:1], False),
        ({"also_measure": ["train", "validation"]}, BOTH_PARTS[1:], True),
        ({"also_measure": ["train", "validation"]}, BOTH_PARTS, False),  # held out of the first stage
        ({"also_measure": ["train"]}, BOTH_PARTS[1:], False),
    ],
)
def test_what_is_trained_on_is_not_measured_as_validation(monkeypatch, training, stages, refuses):
    options = card_of("none").examples[0]
    data = {"dataset": "mnist", "split": {"kind": "all", "target_size": 0, "validation_size": 10}}
    spec = {"uses": "none", "method_options": options, "training": {"epochs": 2, **training}, "data": data}
    spec["model"] = {"name": "lenet", "options": {}}
    card = dataclasses.replace(card_of("none"), stages=lambda options, epochs: stages)
    monkeypatch.setattr(needs, "card_of", lambda method: card)
    said = refused(needs.check, spec, "here")
    name = next(iter(training))
    assert said == (
        f"here: {name} names validation, but none trains on it; measure the test set alone" if refuses else None
    )


@pytest.mark.parametrize(
    ("batch_size", "stages", "says"),
    [
        (50, BOTH_PARTS, None),  # all of S in one batch, and all of S_T
        (51, BOTH_PARTS, "batch_size is 51, but an epoch has only 40 examples"),
        (41, BOTH_PARTS[:1], "batch_size is 41, but an epoch has only 40 examples"),
        (20, [PlannedStage(1), PlannedStage(1, batch_size=41)], "batch_size is 41, but an epoch has only 40 examples"),
    ],
)
def test_a_batch_of_all_of_s_is_all_of_a_part_in_a_stage_on_it(monkeypatch, batch_size, stages, says):
    card = dataclasses.replace(card_of("none"), stages=lambda options, epochs: stages)
    monkeypatch.setattr(sizes, "card_of", lambda method: card)
    monkeypatch.setattr(sizes, "epoch_size", lambda data, stage: 50 if stage.part == "train+validation" else 40)
    spec = {
        "uses": "none",
        "method_options": {},
        "data": {"split": {"target_size": 0, "validation_size": 10}},
        "training": {"epochs": 1, "batch_size": batch_size, "target_batch_size": 1, "drop_last": False},
        "model": {"name": "linear"},
    }
    said = refused(sizes.check_batches, spec, False, "here")
    assert said is None if says is None else str(said).startswith(f"here: {says}")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["uniform", "effective-number", "class-aware"]),
    st.sampled_from([1.0, 5.0, 10.0]),
    st.sampled_from([None, 0.1, 0.3]),
    st.sampled_from(["long-tail", "step", "all"]),
)
def test_planned_epochs_are_those_of_the_streams(sampling, ratio, share, kind):
    split = spec_of({"kind": kind, "validation_share": share, "test": "all"})["data"]["split"]
    if kind != "all":
        split |= {"largest_class": 30, "imbalance_ratio": ratio, "rounding": "exact"}
    drawn = draw(TOYS["cifar100-slice"], split, 0)
    data = {"dataset": "cifar100-slice", "options": {}, "split": split}
    assert sizes.epoch_size(data, PlannedStage(1, sampling)) == epoch_size(sampling, drawn.train.label)
    both = PlannedStage(1, sampling, part="train+validation")
    assert sizes.epoch_size(data, both) == epoch_size(sampling, drawn.train.joined(drawn.validation).label)
    half = np.concatenate([np.flatnonzero(drawn.train.label == label)[::2] for label in range(20)])
    stage = PlannedStage(1, sampling, part="members", members=lambda counts: [-(-count // 2) for count in counts])
    assert sizes.epoch_size(data, stage) == epoch_size(sampling, drawn.train.label[half])
    even = sampling != "class-aware" and not any(np.bincount(drawn.train.label) % 2)
    known = len(drawn.train.label) // 2 if even else None
    assert sizes.epoch_size(data, PlannedStage(1, sampling, part="members", share=0.5)) == known
