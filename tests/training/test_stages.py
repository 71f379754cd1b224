"""Stages of a run, what is measured, what is kept: on real MNIST, in the engine itself."""

import re

import numpy as np
import pytest
import torch
from support import two_stages
from support.mnist_runs import CPU, finished, killed_and_resumed, outcome, run_of, spec_of

from reweigh.data import load
from reweigh.data.split import draw
from reweigh.errors import ConfigError
from reweigh.methods import none
from reweigh.methods.base import Stage
from reweigh.training.engine import Run

SECOND = {"batch_size": 25, "learning_rate": 0.2, "schedule": {"name": "cosine", "warmup_epochs": 0}, "momentum": 0.5}
STAGES = [
    Stage("train", 2),
    Stage("again", 2, train="head", sampling="class-aware", training=SECOND),
    Stage("end", 0),
]


@pytest.fixture
def staged(monkeypatch):
    """Two stages of training and one of none; what `begin` and `begin_epoch` were told."""
    told = []

    def begin(self, stage, model):
        told.append(stage.name)
        if stage.name == "again":
            torch.nn.init.zeros_(model.head.weight)

    monkeypatch.setattr(none.Method, "stages", lambda self, epochs: STAGES)
    monkeypatch.setattr(none.Method, "begin", begin)
    monkeypatch.setattr(none.Method, "begin_epoch", lambda self, at, model: told.append((at.epoch, at.stage_epoch)))
    return told


def test_stages_have_their_own_batches_rate_and_optimiser(mnist, staged):
    spec, seen = spec_of("none"), []
    run = run_of(spec, mnist)

    def tick(at):
        optimiser, batches = at.optimiser, at.courses[min(at.stage, 1)].batches
        seen.append((batches.size, optimiser.rate.value, optimiser.momentum, len(optimiser.parameters)))

    run.finish(tick)
    assert staged == ["train", (0, 0), (1, 1), "again", (2, 0), (3, 1), "end"]
    first = len(run.parts.train) // 50
    counts = torch.bincount(run.parts.train.labels)
    second = int(counts.max()) * 2 // 25
    assert len(seen) == run.step == run.total_steps == 2 * first + 2 * second
    assert {batch for batch, *_ in seen[: 2 * first - 1]} == {50}
    rates = [rate for _, rate, *_ in seen[2 * first : -1]]
    assert rates == pytest.approx([0.1 * (1 + np.cos(np.pi * k / (2 * second))) for k in range(len(rates))])
    assert {rest for _, _, *rest in map(tuple, seen[2 * first : -1]) for rest in [tuple(rest)]} == {(0.5, 2)}
    assert run.results()["curves"]["epoch"] == [1, 2, 3, 4]


@pytest.mark.parametrize("stop", [1, 10, 11, 12, 25])
def test_a_run_of_stages_resumes_inside_each_of_them(mnist, staged, stop):
    spec = spec_of("none")
    assert outcome(killed_and_resumed(spec, mnist, stop)) == outcome(finished(spec, mnist))


def test_a_head_stage_leaves_running_statistics_alone(mnist, staged, monkeypatch):
    run, seen = run_of(spec_of("none"), mnist), []
    run.finish(lambda at: seen.append((at.stage, at.model.training, at.model.head.training)))
    assert set(seen[:-1]) == {(0, True, True), (1, False, True)}


def test_what_is_chosen_on_a_held_out_part_never_sees_the_test_set(mnist, monkeypatch):
    spec = spec_of("none", evaluate_on="validation")
    spec["data"]["split"]["validation_size"] = 60
    split = draw(mnist, spec["data"]["split"], 0)
    blind = Run(spec, mnist, split, CPU)
    monkeypatch.setattr(blind.parts.test, "in_order", None)
    blind.finish()
    results = blind.results()
    assert results["metrics"]["validation_size"] == 60 and not any("test" in name for name in results["metrics"])
    assert results["curves"]["validation_accuracy"][-1] == results["metrics"]["validation_accuracy"]
    spec["data"]["split"]["validation_size"] = 0
    with pytest.raises(ConfigError, match="holds nothing out"):
        run_of(spec, mnist)


def test_some_layers_have_a_weight_decay_of_their_own(mnist):
    spec = spec_of("none", layer_weight_decay={"head": 0.5})
    groups = run_of(spec, mnist).optimiser.groups
    assert {decay: len(names) for decay, names in groups.items()} == {0.002: 8, 0.5: 2}


@pytest.mark.parametrize("order", [("fc1", "fc1.weight", "fc"), ("fc", "fc1.weight", "fc1")])
def test_the_longest_beginning_of_a_name_has_the_decay_in_whatever_order_they_stand(mnist, order):
    decay = {"fc": 0.25, "fc1": 0.5, "fc1.weight": 0.75}
    groups = run_of(spec_of("none", layer_weight_decay={name: decay[name] for name in order}), mnist).optimiser.groups
    own = {name: value for value, names in groups.items() for name in names}
    assert (own["fc1.weight"], own["fc1.bias"], own["fc2.weight"], own["conv1.weight"]) == (0.75, 0.5, 0.25, 0.002)


def test_a_decay_of_a_layer_that_is_not_there_is_refused(mnist):
    with pytest.raises(ConfigError, match=r"no parameter begins with 'fc_one'; layers: conv1, .*fc1"):
        run_of(spec_of("none", layer_weight_decay={"head": 0.5, "fc_one": 0.5}), mnist)


@pytest.mark.parametrize("method", ["joint", "lws", "ncm"])
def test_layers_are_named_as_in_the_model_that_a_run_begins_with(method, raw_root):
    """Learnable weight scaling puts a head with other names on it for its second stage."""
    raw = load.read("cifar10-slice", root=raw_root)
    run = two_stages.run_of(two_stages.spec_of(method, layer_weight_decay={"head.bias": 0.0}), raw)
    run.finish()
    assert run.results()["status"] == "finished"


def test_a_stage_may_name_layers_that_it_brings_itself_but_no_others(mnist, monkeypatch):
    def stages(named):
        return lambda self, epochs: [Stage("one", 1), Stage("two", 1, training={"layer_weight_decay": {named: 0.5}})]

    def begin(self, stage, model):
        if stage.name == "two":
            model.head = torch.nn.Sequential(model.head)

    monkeypatch.setattr(none.Method, "begin", begin)
    monkeypatch.setattr(none.Method, "stages", stages("head.0"))
    run = run_of(spec_of("none"), mnist)
    while run.stage == 0:
        run.advance()
    assert {decay: len(names) for decay, names in run.optimiser.groups.items()} == {0.002: 8, 0.5: 2}
    monkeypatch.setattr(none.Method, "stages", stages("tail"))
    with pytest.raises(ConfigError, match="no parameter begins with 'tail'"):
        run_of(spec_of("none"), mnist).finish()


def test_only_the_head_or_a_part_of_it_is_trained_alone(mnist, monkeypatch):
    """All else is in evaluation mode then, which would be wrong of a layer further down."""
    monkeypatch.setattr(none.Method, "stages", lambda self, epochs: [Stage("middle", 1, train="fc1")])
    with pytest.raises(ConfigError, match="stage middle trains 'fc1'; it can be all, head, or a part of it"):
        run_of(spec_of("none"), mnist)


@pytest.mark.parametrize(
    ("members", "refused"),
    [
        (np.arange(100) % 2 == 0, "not bool (100,); of a mask, np.flatnonzero(mask)"),
        (np.zeros((2, 3), int), "not int64 (2, 3)"),
        (np.arange(3.0), "not float64 (3,)"),
        ([0, 1, 2], "not list"),
        (torch.arange(3), "not Tensor"),
        (np.array([0, -1]), ", not from -1 to 0"),
        (np.array([0, 5000]), ", not from 0 to 5000"),
    ],
)
def test_members_that_are_no_rows_are_refused(mnist, monkeypatch, members, refused):
    monkeypatch.setattr(none.Method, "stages", lambda self, epochs: [Stage("few", 1, part="members")])
    monkeypatch.setattr(none.Method, "members", lambda self, stage: members)
    with pytest.raises(ConfigError, match=re.escape(refused)):
        run_of(spec_of("none"), mnist)


def test_members_may_be_held_out_examples_too(mnist, monkeypatch):
    """Of train+validation the training set comes first; the same rows may be those of the training set alone."""
    spec = spec_of("none")
    spec["data"]["split"]["validation_size"] = 20
    parts = run_of(spec, mnist).parts
    rows = np.arange(len(parts.train) - 10, len(parts.train) + 10)
    monkeypatch.setattr(none.Method, "members", lambda self, stage: rows)

    def run_on(part):
        monkeypatch.setattr(none.Method, "stages", lambda self, epochs: [Stage("few", 1, part=part)])
        return run_of(spec, mnist)

    course = run_on("members of train+validation").course
    labels = torch.cat([parts.train.labels[-10:], parts.validation.labels[:10]])
    assert torch.equal(course.part.labels[rows], labels) and course.class_counts.tolist() == [
        float((labels == label).sum()) for label in (0, 1)
    ]
    inputs = course.part.take(torch.from_numpy(rows)).inputs
    assert torch.equal(inputs[10:], parts.validation.take(torch.arange(10)).inputs)
    with pytest.raises(ConfigError, match=rf"rows from 0 to {len(parts.train) - 1}, not from"):
        run_on("members")
    spec["data"]["split"]["validation_size"] = 0
    with pytest.raises(ConfigError, match=r"trains on members of train.validation, but the split holds nothing out"):
        run_on("members of train+validation")


@pytest.mark.parametrize("sampling", ["effective-number", "class-aware"])
def test_members_that_a_method_moves_in_place_are_drawn_as_they_are_now(mnist, monkeypatch, sampling):
    """A view of the method's own tensor: on a CPU it moves with it."""
    labels = run_of(spec_of("none"), mnist).parts.train.labels

    def finished_with(copied):
        def __init__(self, options, context):
            usual(self, options, context)
            self.rows = torch.cat([torch.where(labels == 0)[0][:8], torch.where(labels == 1)[0][:24]])

        def begin_epoch(self, at, model):
            few, many = (torch.where(labels == label)[0] for label in ((1, 0) if at.stage_epoch % 2 else (0, 1)))
            self.rows.copy_(torch.cat([few[:8], many[:24]]))

        usual = none.Method.__init__
        with monkeypatch.context() as patch:
            patch.setattr(none.Method, "__init__", __init__)
            patch.setattr(none.Method, "begin_epoch", begin_epoch)
            stages = [Stage("few", 4, part="members", sampling=sampling)]
            patch.setattr(none.Method, "stages", lambda self, epochs: stages)
            patch.setattr(
                none.Method, "members", lambda self, stage: self.rows.clone().numpy() if copied else self.rows.numpy()
            )
            return outcome(finished(spec_of("none"), mnist))

    assert finished_with(copied=False) == finished_with(copied=True)


def test_kept_features_are_what_the_head_sees(mnist):
    run = finished(spec_of("none", keep_features=40), mnist)
    run.model.features = lambda images: images.flatten(1)[:, :7]
    kept = run.arrays()
    assert {name: array.shape for name, array in kept.items()} == {
        "train_features": (40, 7),
        "train_labels": (40,),
        "test_features": (40, 7),
        "test_labels": (40,),
    }
    again = run.arrays()
    assert all(np.array_equal(kept[name], again[name]) for name in kept) and kept["train_features"].dtype == np.float16
    assert finished(spec_of("none"), mnist).arrays() == {}


def test_class_weights_count_in_what_a_batch_weighs(mnist):
    balance = {"beta": 0.9999, "from_epoch": 2}
    options = {"loss": None, "class_balance": balance, "sampling": "uniform", "rate_factor": None}
    spec = {**spec_of("none"), "uses": "sgd", "method_options": options}
    assert finished(spec, mnist).curves["effective_weight"] == pytest.approx([1] * 4)
    options["loss"] = {"name": "focal", "gamma": 1.0, "weight_leaks": True}  # averaged over the batch
    first = finished(spec, mnist).curves["effective_weight"]
    assert first[:2] == pytest.approx([1, 1]) and first[2] < 0.7
