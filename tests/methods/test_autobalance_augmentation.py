"""AutoBalance with an augmentation policy in its design: what the model is shown, when, and what the search learns."""

import numpy as np
import pytest
import torch
from torch import nn

from reweigh.config.cards import check_options
from reweigh.config.methods.autobalance import AUGMENTATION, PRINTED
from reweigh.data.arrays import Part
from reweigh.data.augmentation_policy import MAGNITUDE, NAMES, OPERATION, PROBABILITY, WITH_MAGNITUDE
from reweigh.data.batches import DevicePart
from reweigh.errors import ConfigError
from reweigh.methods import autobalance, base

CPU = torch.device("cpu")
PDA = {**AUGMENTATION, "sub_policies": 2, "stages": 2}
MADAO = {
    **PRINTED,
    "design": [],
    "multiplier": "plain",
    "weights": "none",
    "search_epochs": 40,
    "from_epoch": 0,
    "terms": 1,
    "neumann_step": "auto",
    "upper_learning_rate": 0.5,
    "upper_momentum": 0.0,
    "upper_weight_decay": 0.0,
    "augmentation": {**PDA, "policies": "one", "sub_policies": 1, "stages": 1},
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def part(seed, count=80):
    """Plain grey pictures, three in five of them of class 0; class 1 is lighter."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 5 > 2).astype(np.int64)
    levels = np.where(labels == 1, random.integers(140, 230, count), random.integers(20, 110, count))
    inputs = np.broadcast_to(levels[:, None, None, None], (count, 1, 8, 8)).astype(np.uint8)
    return DevicePart(inputs, Part(np.arange(count), labels, labels), "centred", CPU)


def made(**options):
    train, held_out = part(1), part(2)
    counts = torch.tensor([48.0, 32.0])
    context = base.RunContext(
        seed=3,
        classes=2,
        class_counts=counts,
        group_counts=counts.clone(),
        batch_size=20,
        epochs=2,
        learning_rate=0.2,
        weight_decay=0.0,
        target=None,
        fresh=train.stream(20, 3, "fresh-batches", False),
        train=train,
        validation=held_out,
    )
    method = autobalance.Method({**MADAO, **options}, context)
    method.begin(method.stages(2)[0], net())
    return method


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))


def at(method, number, stage=0):
    course = method.stages(2)[stage]
    return base.Position(number, number // 4, course, number, 4, 0.2)


def step(method, model, number, stage=0):
    batch = method.context.train.stream(20, 3, "batches", False).batch(number)
    return base.Step(torch.tensor(number), method.prepare(at(method, number, stage)), model, batch, None)


def only(method, name, probability=0.5, magnitude=0.5):
    """Have one operation alone act."""
    method.design.values[OPERATION].fill_(0.0)[..., NAMES.index(name)] = 10.0
    method.design.values[PROBABILITY].fill_(probability)
    method.design.values[MAGNITUDE].fill_(magnitude)


def search(method, steps=16):
    """Train a small net by the method's losses on what it shows, and let it learn; -> the net."""
    model = net()
    for number in range(steps):
        if number % 4 == 0:
            method.begin_epoch(at(method, number), model)
        one = step(method, model, number)
        with torch.no_grad():
            method.learn(one)
        losses = method.example_losses(model(method.inputs(one, one.batch)), one.batch)
        gradients = torch.autograd.grad(method.example_weights(one, losses) @ losses, list(model.parameters()))
        with torch.no_grad():
            for value, slope in zip(model.parameters(), gradients, strict=True):
                value -= 0.2 * slope
    return model


@pytest.mark.parametrize("solver", [{}, {"solver": "cg", "damping": 0.1}, {"products": "forward"}])
def test_the_search_gives_up_an_operation_that_harms(solver):
    """Inverted, a light picture is a dark one: what tells the classes apart is lost in S_T, and not in S_V."""
    method = made(**solver)
    only(method, "invert")
    search(method)
    assert method.design.values[PROBABILITY][0, 0, 0, NAMES.index("invert")] < 0.1


def test_it_keeps_one_that_does_no_harm():
    """A mirror image of a plain picture is the picture: there is nothing to learn about it."""
    method = made()
    only(method, "mirror")
    search(method)
    assert method.design.values[PROBABILITY][0, 0, 0, NAMES.index("mirror")].item() == pytest.approx(0.5, abs=1e-4)


def test_a_magnitude_that_harms_falls_too():
    method = made()
    only(method, "solarize", probability=1.0, magnitude=0.9)
    method.design.values[PROBABILITY].fill_(1.0)
    before = method.design.values[MAGNITUDE].clone()
    search(method, 8)
    place = WITH_MAGNITUDE.index("solarize")
    moved = (method.design.values[MAGNITUDE] != before).flatten()
    assert moved[place] and not moved.tolist().count(True) > 1


def test_the_search_sees_relaxed_images_of_its_step_and_the_retraining_hard_ones():
    method, model = made(), net()
    only(method, "invert")
    method.begin_epoch(at(method, 0), model)
    first = step(method, model, 0)
    shown = method.inputs(first, first.batch)
    assert torch.equal(shown, method.inputs(first, first.batch)) and not torch.equal(shown, first.batch.inputs)
    method.prepare(at(method, 1))
    assert not torch.equal(method.inputs(first, first.batch), shown)  # the next step draws anew
    method.prepare(at(method, 0))
    assert torch.equal(method.inputs(first, first.batch), shown)  # but each step always the same

    method.begin(method.stages(2)[1], model)
    hard = step(method, model, 9, stage=1)
    shown, inverted = method.inputs(hard, hard.batch), 255 / 128 - 2 - hard.batch.inputs
    same = (shown == hard.batch.inputs).flatten(1).all(1)
    turned = ((shown - inverted).abs() < 1e-5).flatten(1).all(1)
    assert (same ^ turned).all() and 3 < same.sum() < 17


def test_validation_batches_are_not_augmented_and_training_batches_are(monkeypatch):
    method, model = made(batches=2), net()
    only(method, "invert", probability=1.0)
    method.begin_epoch(at(method, 0), model)
    one, seen = step(method, model, 1), {"hypergradient": [], "validation": []}
    known = method.logits_at

    def watched(step, batch, parameters, training, name):
        seen[name.split()[0]].append(batch)
        return known(step, batch, parameters, training, name)

    monkeypatch.setattr(method, "logits_at", watched)
    with torch.no_grad():
        method.learn(one)
    lightness = {
        name: [(batch.inputs.mean((1, 2, 3)) > 0) == (batch.labels == 1) for batch in batches]
        for name, batches in seen.items()
    }
    assert len(seen["validation"]) == 2 and all(right.all() for right in lightness["validation"])
    assert len(seen["hypergradient"]) >= 2 and not any(right.any() for right in lightness["hypergradient"])


def test_the_policy_is_learned_beside_delta_and_l_and_frozen_at_the_end_of_the_search():
    method = made(design=["l", "delta"], search_epochs=2)
    assert set(method.design.values) == {"l", "delta", PROBABILITY, MAGNITUDE, OPERATION}
    start = {name: value.clone() for name, value in method.design.values.items()}
    model = search(method, 8)
    assert all(not torch.equal(method.design.values[name], start[name]) for name in method.design.values)
    assert set(method.logged) >= {"l", "delta", PROBABILITY, MAGNITUDE, "gradient_norm"}
    assert method.logged[PROBABILITY].shape == (1, 15) and method.logged[MAGNITUDE].shape == (1, 11)
    method.end(method.stages(2)[0], model)
    frozen = {name: value.clone() for name, value in method.design.values.items()}
    for number in range(8, 12):
        method.learn(step(method, model, number, stage=1))
    assert all(torch.equal(method.design.values[name], value) for name, value in frozen.items())


def test_steps_stay_within_0_and_1_and_a_state_holds_them():
    method = made(upper_learning_rate=500.0, batches=2)
    search(method, 8)
    for name in (PROBABILITY, MAGNITUDE):
        assert method.design.values[name].min() >= 0 and method.design.values[name].max() <= 1
    assert method.design.values[PROBABILITY].unique().tolist() != [0.5]
    other = made()
    other.load_state(method.state())
    assert all(torch.equal(other.design.values[name], value) for name, value in method.design.values.items())


def test_clusters_have_policies_of_their_own():
    method = made(augmentation=PDA, cluster_size=1)
    assert method.design.values[PROBABILITY].shape == (2, 2, 2, 15)
    together = made(augmentation=PDA, cluster_size=2)
    assert together.design.values[PROBABILITY].shape == (1, 2, 2, 15)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"design": []}, "design: nothing is searched; name tau, l or delta, or give an augmentation"),
        ({"augmentation": PDA, "by": "cell"}, "augmentation: its policies are those of class clusters"),
        ({"augmentation": PDA, "solver": "exact", "damping": 0.1}, "the solver exact takes inputs as they are"),
        ({"expand": "fitted", "by": "cell"}, "expand: fitted is by class size and positive; set by to cluster"),
        ({"expand": "fitted", "multiplier": "plain"}, "set by to cluster, multiplier to sigmoid"),
        ({"augmentation": {**PDA, "policies": "both"}}, "policies"),
        ({"augmentation": {**PDA, "start": 1.5}}, "start"),
        ({"augmentation": {**PDA, "temperature": 0.0}}, "temperature"),
        ({"augmentation": {**PDA, "stages": 0}}, "stages"),
    ],
)
def test_options_that_mean_nothing_are_refused(changed, says):
    with pytest.raises(ConfigError) as refused:
        check_options("autobalance", {**PRINTED, **changed}, "here")
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_an_unaugmented_design_is_what_it_was():
    """Without a policy nothing is drawn, and a step's images are those of its batch."""
    method = made(design=["l"], augmentation=None)
    one = step(method, net(), 0)
    assert method.inputs(one, one.batch) is one.batch.inputs and set(method.design.values) == {"l"}
    assert method.prepare(at(method, 3, stage=1)) == "inner"
