"""What every method must hold to, as checks of a module and its options: its card, its steps, its state, its weights.

A check that fails raises, or the method itself does. They know a method by its module's name and its card
alone, so that a new method is checked by being there.
"""

import copy
import importlib
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from reweigh.config import loading as config
from reweigh.config.cards import check_loss
from reweigh.config.validation import validated
from reweigh.data.arrays import Part
from reweigh.data.batches import BatchStream, DevicePart
from reweigh.data.split import draw
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.losses import Loss
from reweigh.methods import base
from reweigh.methods.base import Position
from reweigh.training.engine import Run
from support import capture
from support.mnist_runs import outcome

CPU = torch.device("cpu")
EPOCHS = 3


def modules(package):
    """The modules of a package beside which there is a card, the template's too."""
    here = sorted(path.stem for path in (PACKAGE / "config" / package).glob("[a-z]*.py"))
    return [name for name in here if hasattr(card_module(package, name), "CARD")]


def card_module(package, name):
    return importlib.import_module(f"reweigh.config.{package}.{name}")


def cases():
    """(module, options) of every example on every method's card."""
    return [(name, options) for name in modules("methods") for options in card_module("methods", name).CARD.examples]


# --- options ---------------------------------------------------------------------------------------------------------


def check_options_of(card, options, where="here"):
    """The options are complete, all of them are needed, nothing else is taken, and no value may be NaN or infinite."""

    def checked(said):
        known = validated(card.options, said, where).model_dump()
        check_loss(known.get("loss"), f"{where}.loss")
        return known

    known = checked(options)
    assert {key: known[key] for key in options} == options
    required = [key for key, field in card.options.model_fields.items() if field.is_required()]
    assert set(required) <= set(options)
    for key in required:
        refused(checked, {name: value for name, value in options.items() if name != key}, "missing")
    refused(checked, {**options, "no_such_option": 1}, "unknown key 'no_such_option'")
    for path in leaves(options):
        if path[-1] != "name":
            for value in (math.nan, math.inf, -math.inf):
                refused(checked, with_value(options, path, value), path[-1])


def refused(check, said, says):
    with pytest.raises(ConfigError) as refusal:
        check(said)
    assert says in str(refusal.value), said


def leaves(tree, path=()):
    for key, value in tree.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def with_value(tree, path, value):
    changed = copy.deepcopy(dict(tree))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


# --- whole runs ------------------------------------------------------------------------------------------------------


def spec_of(uses, options):
    """The spec of a short run of LeNet on real MNIST, 4 against 9, with a target and a validation set."""
    spec = copy.deepcopy(config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
    spec.update(method="walked", uses=uses, method_options=copy.deepcopy(dict(options)))
    spec["data"]["split"].update(validation_size=20)
    spec["training"].update(epochs=EPOCHS, drop_last=False)  # a short last batch is a program of its own
    return spec


def run_of(uses, options, raw, execute=capture.observed):
    """A run of that spec that has taken no step, every step of which is watched: one that asks for a value fails."""
    spec = spec_of(uses, options)
    torch.set_num_threads(1)
    return Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU, execute)


class Watched:
    """A run taken to its end under watch, with its state after some steps, and which of its tensors have moved."""

    def __init__(self, uses, options, raw):
        self.uses, self.options, self.raw = uses, options, raw
        self.run = run_of(uses, options, raw)
        total = self.run.total_steps
        self.states, self.moved = {}, set()
        before = {name: value.clone() for name, value in tensors_of(self.run.method).items()}
        stops = {total // 2, total - 2} if total else set()

        def tick(run):
            for name, value in tensors_of(run.method).items():
                if name not in before or not same(value, before[name]):
                    self.moved.add(name)
            if run.step in stops:
                file = io.BytesIO()
                torch.save(run.state(), file)
                self.states[run.step] = file.getvalue()

        self.run.finish(tick)
        self.outcome = outcome(self.run)


def check_replay(watched):
    """Recorded once a program and then replayed, it ends with the same bits: only tensors carry on to the next step."""
    executor = capture.Replayed()
    run = run_of(watched.uses, watched.options, watched.raw, executor)
    run.finish()
    assert outcome(run) == watched.outcome, "a replayed step is not the step: something is decided or kept in Python"
    assert executor.replays > 0 or not run.step


def check_resume(watched):
    """Killed after some step and resumed from its state by another object, it ends with the same bits.

    Every tensor of the method that a run moves is spoilt in that object first: what `state` forgets stays spoilt.
    """
    for step, state in watched.states.items():
        run = run_of(watched.uses, watched.options, watched.raw)
        spoilt = [name for name, value in tensors_of(run.method).items() if name in watched.moved and spoil(value)]
        run.load_state(torch.load(io.BytesIO(state), weights_only=False))
        assert run.step == step
        run.finish()
        text = f"stopped after step {step}, it ends otherwise; see what state() keeps of {', '.join(spoilt)}"
        assert outcome(run) == watched.outcome, text


def tensors_of(value, name="", depth=4):
    """Every tensor that a method's attributes hold, its loss's too, by its place; not those of its run's context."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if isinstance(value, base.Method | Loss):
        inside = {key: one for key, one in vars(value).items() if key not in ("context", "logged", "options")}
    elif isinstance(value, dict):
        inside = value
    elif isinstance(value, list | tuple):
        inside = dict(enumerate(value))
    else:
        return {}
    found = {}
    for key, one in inside.items() if depth else ():
        found |= tensors_of(one, f"{name}.{key}".lstrip("."), depth - 1)
    return found


def same(one, other):
    return one.shape == other.shape and one.dtype == other.dtype and bool(((one == other) | (one != one)).all())


def spoil(value):
    """Overwrite a tensor with what no run can have meant; True."""
    with torch.no_grad():
        if value.dtype == torch.bool:
            value.logical_not_()
        elif value.is_floating_point():
            value.fill_(math.nan)
        else:
            value.add_(1)
    return True


# --- the way of the weights ------------------------------------------------------------------------------------------

SIZE, STEPS_PER_EPOCH, FIRST, LAST = 10, 5, 20, 33  # the steps are those after the last epoch of stage one
COUNTS = (10.0, 40.0)


class Net(nn.Module):
    """A small net with the parts that methods ask for: `features` and `head`."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 2)

    def features(self, inputs):
        return self.body(inputs)

    def forward(self, inputs):
        return self.head(self.features(inputs))


def part(labels, seed):
    """A part of two classes whose inputs differ in their mean."""
    inputs = np.random.default_rng(seed).normal(size=(len(labels), 4)) + labels[:, None]
    return DevicePart(inputs.astype(np.float32), Part(np.arange(len(labels)), labels, labels), "none", CPU)


def shares(method_class, options, counts=COUNTS, target=(0, 1), raised=None):
    """The share of each example in the weight of a batch, after some steps at one model; and the batch's labels.

    `counts` are the training set's as the method is told, `target` the classes of its target set, and `raised` the
    place of an example whose loss is 1 more in the last step. Class weights in the loss count as weights.
    """
    torch.set_num_threads(1)
    train, guide = part((np.arange(50) % 5 > 1).astype(np.int64), 1), part(np.resize(np.array(target), 10), 2)
    told = torch.tensor(counts)
    context = base.RunContext(
        seed=0,
        classes=2,
        class_counts=told,
        group_counts=told.clone(),
        batch_size=SIZE,
        epochs=FIRST // STEPS_PER_EPOCH,
        learning_rate=0.05,
        weight_decay=0.002,
        target=BatchStream(guide, 5, 0, "target-batches", augmented=False),
        fresh=BatchStream(train, SIZE, 0, "fresh-batches", augmented=False),
        train=train,
        validation=part((np.arange(20) % 2).astype(np.int64), 3),
    )
    torch.manual_seed(0)
    model, batches = Net(), BatchStream(train, SIZE, 0, "batches", augmented=False)
    method = method_class(copy.deepcopy(dict(options)), context)
    for stage in method.stages(context.epochs):
        method.begin(stage, model)
    model.train()
    for number in range(FIRST, LAST + 1):
        place = Position(number, number // STEPS_PER_EPOCH, stage, number, STEPS_PER_EPOCH)
        if number % STEPS_PER_EPOCH == 0:
            method.begin_epoch(place, model)
        batch = batches.batch(number)
        step = base.Step(torch.tensor(number), method.prepare(place), model, batch, None)
        method.learn(step)
        with method.watch(model):
            logits = model(method.inputs(step, batch)).float()
        method.example_losses(logits, batch)
        losses = losses_of(number)
        if number == LAST and raised is not None:
            losses[raised] += 1
        weights = method.example_weights(step, losses)
    assert weights.shape == (SIZE,) and not weights.requires_grad and weights.isfinite().all()
    balance = method.balance_of(batch)
    weights = weights if balance is None else weights * balance[batch.labels]
    return (weights / weights.sum()).double(), batch.labels


def losses_of(number):
    """The losses that `shares` gives to a method in a step, whatever the model's are. -> float32 (SIZE,)."""
    return torch.tensor(np.random.default_rng(number).gamma(1.0, 1.0, size=SIZE), dtype=torch.float32)


def check_weights(method_class, options, follows):
    """The weights go the way that the card says, and follow nothing that it does not name.

    None of it asks how the method computes them: one loss is raised, one class made rare, one class put into the target
    set, and the share of what that concerns is measured again.
    """
    plain, labels = shares(method_class, options)
    of_class_0 = labels == 0
    raised = int(of_class_0.nonzero()[0])
    rare, frequent = (shares(method_class, options, counts=counts)[0] for counts in (COUNTS, COUNTS[::-1]))
    in_target, not_in_target = (shares(method_class, options, target=(label,))[0] for label in (0, 1))
    after = shares(method_class, options, raised=raised)[0]
    measured = {
        "loss": (plain, after, plain[raised], after[raised]),
        "rarity": (frequent, rare, frequent[of_class_0].sum(), rare[of_class_0].sum()),
        "target": (not_in_target, in_target, not_in_target[of_class_0].sum(), in_target[of_class_0].sum()),
    }
    assert 0 < of_class_0.sum() < SIZE and set(follows) <= set(measured)
    for what, (before, then, low, high) in measured.items():
        sign = follows.get(what, 0)
        if sign == 0:
            assert torch.equal(before, then), f"the weights follow {what}, of which the card says nothing"
        else:
            assert sign * (high - low) > 1e-6, (
                f"{what}: the share of the weight goes from {low} to {high}, not {sign:+d}"
            )
