"""What every method must hold to, as checks of a module and its options: its card, its steps, its state, its weights.

A check that fails raises, or the method itself does. They know a method by its module's name and its card
alone, so that a new method is checked by being there.
"""

import copy
import importlib
import io
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

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
from reweigh.models import build
from reweigh.streams import stream_seed
from reweigh.training.engine import Run
from reweigh.training.stages import context_of, courses, members_of
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
        return checked_by(card, said, where)

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


def checked_by(card, said, where):
    known = validated(card.options, said, where).model_dump()
    check_loss(known.get("loss"), f"{where}.loss")
    return known


def refused(check, said, says):
    with pytest.raises(ConfigError) as refusal:
        check(said)
    assert says in str(refusal.value), said


def leaves(tree, path=()):
    for key, value in tree.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def value_at(tree, path):
    """The value at a path, None where there is none."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


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
    """A run taken to its end under watch, with its state after some steps, and which of its tensors have moved.

    `shared` is its state at the end of its prefix, None where it has none.
    """

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

        self.prefix = self.run.method.prefix()
        self.shared = state_after(self.run, self.prefix.stages, tick) if self.prefix else None
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


def state_after(run, stages, tick=None):
    """Take a run to the end of so many stages; its state after their last step, as others go on from it."""
    file = io.BytesIO()

    def keep(run):
        if run.stage + 1 == stages:
            torch.save(run.state(), file)

    run.stage_over = keep
    while run.stage < stages and not run.over:
        run.advance()
        if tick:
            tick(run)
    run.stage_over = None
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


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

SIZE, EPOCHS_BEFORE, LAST = 10, 4, 13  # steps 0 to LAST are taken of each stage, after so many epochs of it
COUNTS = (10.0, 40.0)
PICTURE = (1, 28, 28)
TRAINING = {
    "epochs": EPOCHS_BEFORE, "batch_size": SIZE, "weight_decay": 0.002, "drop_last": True,
    "learning_rate": 0.05, "schedule": {"name": "constant"},
}  # fmt: skip


def part(labels, seed, shape=(4,), rows=slice(None)):
    """A part of two classes whose inputs differ in their mean; of them all, only `rows`."""
    inputs = np.random.default_rng(seed).normal(size=(len(labels), *shape))
    inputs = (inputs + labels.reshape(-1, *(1 for _ in shape))).astype(np.float32)
    return DevicePart(inputs, Part(np.arange(len(labels))[rows], labels[rows], labels[rows]), "none", CPU)


def course_of(method_class, options, counts, target):
    """A method as it is made for pictures of two classes, and its stages. See `shares` for what it is told."""
    labels = np.concatenate([np.arange(50) % 5 > 1, np.arange(20) % 2]).astype(np.int64)
    train, held_out = (part(labels, 1, PICTURE, rows) for rows in (slice(50), slice(50, None)))
    told = torch.tensor(counts)
    context = base.RunContext(
        seed=0,
        classes=2,
        class_counts=told,
        group_counts=told.clone(),
        batch_size=SIZE,
        epochs=EPOCHS_BEFORE,
        learning_rate=0.05,
        weight_decay=TRAINING["weight_decay"],
        target=BatchStream(part(np.resize(np.array(target), 10), 2, PICTURE), 5, 0, "target-batches", augmented=False),
        fresh=BatchStream(train, SIZE, 0, "fresh-batches", augmented=False),
        train=train,
        validation=held_out,
        new_model=lambda stream: build("lenet", PICTURE, 2, stream_seed(0, stream), "channels-last"),
    )
    method = method_class(copy.deepcopy(dict(options)), context)
    more = part(labels, 1, PICTURE)
    if any(stage.whole != "train" for stage in method.stages(EPOCHS_BEFORE)[:1]):  # as the engine makes it
        method = method_class(copy.deepcopy(dict(options)), replace(context, train=more))
    parts = {"train": train, "train+validation": more, "train+target": more}
    for stage in method.stages(EPOCHS_BEFORE)[:1]:
        if stage.lists and stage.whole != "train":  # the engine makes it anew, as here
            method = method_class(copy.deepcopy(dict(options)), replace(context, train=parts[stage.whole]))
    return method, courses(method, SimpleNamespace(of=lambda stage: parts[stage.whole]), TRAINING, 0)


def shares(method_class, options, number=0, counts=COUNTS, target=(0, 1), raised=None):
    """The share of each example in the weight of a batch, after some steps of stage `number`; and the batch's labels.

    `counts` are those of the training set as the method is told, `target` the classes of its target set, and `raised`
    the place of an example whose loss is 1 more in the last step. Class weights in the loss count as weights. The model
    is LeNet, as in whole runs, so that a method may name its layers; no step changes it.
    """
    torch.set_num_threads(1)
    method, taken = course_of(method_class, options, counts, target)
    model, trained_on = build("lenet", PICTURE, 2, 0, "channels-last"), "train"
    for course in taken[: number + 1]:
        stage = course.stage
        tell(course, counts)
        if stage.lists or stage.part != trained_on:
            method.follow(context_of(course, method.context, 0))
        trained_on = stage.part
        method.begin(stage, model)
        course.trained(model)
        for taken_before in range(LAST + 1) if stage.epochs else ():
            losses = losses_of(taken_before, course.batches.batch_size)
            if raised is not None and (course.number, taken_before) == (number, LAST):
                losses[raised] += 1
            place = course.steps_per_epoch * EPOCHS_BEFORE + taken_before
            batch, weights = step_of(method, model, course, place, counts, losses)
        if course.number < number:
            method.end(stage, model)
    assert weights.shape == batch.labels.shape and not weights.requires_grad and weights.isfinite().all()
    balance = method.balance_of(batch)
    weights = weights if balance is None else weights * balance[batch.labels]
    return (weights / weights.sum()).double(), batch.labels


def tell(course, counts):
    """Have a stage count its examples so, whatever there are."""
    for known in (course.class_counts, course.group_counts):
        known.copy_(torch.tensor(counts))


def step_of(method, model, course, place, counts, losses):
    """One step of a stage as the engine takes it, but that the model stays as it is, and the losses (B,) are given.

    -> the batch, and its weights (B,).
    """
    at = course.at(place)
    if place % course.steps_per_epoch == 0:
        method.begin_epoch(at, model)
        if course.stage.lists:
            course.follow(members_of(method, course))
            tell(course, counts)
            method.recount(at)
    batch = course.batches.batch(place)
    step = base.Step(torch.tensor(at.step), method.prepare(at), model, batch, None)
    method.learn(step)
    with method.watch(model):
        logits = model(method.inputs(step, batch)).float()
    method.example_losses(logits, batch)
    return batch, method.example_weights(step, losses)


def losses_of(number, size=SIZE):
    """The losses that `shares` gives to a method in a step, whatever the model's are. -> float32 (size,)."""
    return torch.tensor(np.random.default_rng(number).gamma(1.0, 1.0, size=size), dtype=torch.float32)


def check_weights(method_class, options, follows):
    """The weights go the way that the card says in some stage, and in no stage another way, nor follow anything else.

    A card speaks of the whole method, of which one stage may search by weights and another train plainly.
    """
    stages = course_of(method_class, options, COUNTS, (0, 1))[1]
    seen = set()
    for course in stages:
        if course.stage.epochs:
            seen.update(followed(method_class, options, follows, course.number))
    for what, sign in follows.items():
        assert sign == 0 or what in seen, f"in no stage do the weights follow {what}, where the card says {sign:+d}"


def followed(method_class, options, follows, number):
    """What the weights of one stage follow, of what the card says; fail if they go another way.

    None of it asks how the method computes them: one loss is raised, one class made rare, one class put into the target
    set, and the share of what that concerns is measured again.
    """

    def measure(**changed):
        return shares(method_class, options, number, **changed)[0]

    plain, labels = shares(method_class, options, number)
    of_class_0 = labels == 0
    raised = int(of_class_0.nonzero()[0])
    rare, frequent = (measure(counts=counts) for counts in (COUNTS, COUNTS[::-1]))
    in_target, not_in_target = (measure(target=(label,)) for label in (0, 1))
    after = measure(raised=raised)
    measured = {
        "loss": (plain, after, plain[raised], after[raised]),
        "rarity": (frequent, rare, frequent[of_class_0].sum(), rare[of_class_0].sum()),
        "target": (not_in_target, in_target, not_in_target[of_class_0].sum(), in_target[of_class_0].sum()),
    }
    assert 0 < of_class_0.sum() < len(labels) and set(follows) <= set(measured)
    changed = [what for what, (before, then, _, _) in measured.items() if not torch.equal(before, then)]
    for what in changed:
        sign, (_, _, low, high) = follows.get(what, 0), measured[what]
        assert sign != 0, f"stage {number}: the weights follow {what}, of which the card says nothing"
        assert sign is None or sign * (high - low) > 1e-6, (
            f"stage {number}: {what}: the share of the weight goes from {low} to {high}, not {sign:+d}"
        )
    return changed
