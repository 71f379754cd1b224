"""Which way the weights of a method go, measured: up with the loss of an example, the rarity of its class, the target.

None of it asks how a method computes them. A check that fails raises AssertionError, with what is wrong.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.checking.options import require
from reweigh.config.cards import Sign
from reweigh.data.arrays import Part
from reweigh.data.batches import Batch, BatchStream, DevicePart
from reweigh.methods import base
from reweigh.models import build
from reweigh.streams import stream_seed
from reweigh.training.stages import Course, context_of, courses, members_of

CPU = torch.device("cpu")
SIZE, EPOCHS_BEFORE, LAST = 10, 4, 13  # steps 0 to LAST are taken of each stage, after so many epochs of it
COUNTS = (10.0, 40.0)
PICTURE = (1, 28, 28)
TRAINING: dict[str, Any] = {
    "epochs": EPOCHS_BEFORE, "batch_size": SIZE, "weight_decay": 0.002, "drop_last": True,
    "learning_rate": 0.05, "schedule": {"name": "constant"},
}  # fmt: skip


def part(labels: np.ndarray, seed: int, shape: tuple[int, ...] = (4,), rows: slice = slice(None)) -> DevicePart:
    """A part of two classes whose inputs differ in their mean; of them all, only `rows`."""
    inputs = np.random.default_rng(seed).normal(size=(len(labels), *shape))
    inputs = (inputs + labels.reshape(-1, *(1 for _ in shape))).astype(np.float32)
    return DevicePart(inputs, Part(np.arange(len(labels))[rows], labels[rows], labels[rows]), "none", CPU)


def course_of(
    method_class: type[base.Method], options: Mapping[str, Any], counts: Sequence[float], target: Sequence[int]
) -> tuple[base.Method, list[Course]]:
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
    shown: Any = SimpleNamespace(of=lambda stage: parts[stage.whole])
    return method, courses(method, shown, TRAINING, 0)


def shares(
    method_class: type[base.Method],
    options: Mapping[str, Any],
    number: int = 0,
    counts: Sequence[float] = COUNTS,
    target: Sequence[int] = (0, 1),
    raised: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
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
            losses = losses_of(taken_before, course.batches.batch_size)  # type: ignore[attr-defined]
            if raised is not None and (course.number, taken_before) == (number, LAST):
                losses[raised] += 1
            place = course.steps_per_epoch * EPOCHS_BEFORE + taken_before
            batch, weights = step_of(method, model, course, place, counts, losses)
        if course.number < number:
            method.end(stage, model)
    shapes = tuple(weights.shape), tuple(batch.labels.shape)
    require(shapes[0] == shapes[1], f"weights have shape {shapes[0]}, not {shapes[1]}: one value for each example")
    require(not weights.requires_grad and bool(weights.isfinite().all()), "weights must be finite, without a gradient")
    balance = method.balance_of(batch)
    weights = weights if balance is None else weights * balance[batch.labels]
    return (weights / weights.sum()).double(), batch.labels


def tell(course: Course, counts: Sequence[float]) -> None:
    """Have a stage count its examples so, whatever there are."""
    for known in (course.class_counts, course.group_counts):
        known.copy_(torch.tensor(counts))


def step_of(
    method: base.Method, model: nn.Module, course: Course, place: int, counts: Sequence[float], losses: torch.Tensor
) -> tuple[Batch, torch.Tensor]:
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


def losses_of(number: int, size: int = SIZE) -> torch.Tensor:
    """The losses that `shares` gives to a method in a step, whatever the model's are. -> float32 (size,)."""
    return torch.tensor(np.random.default_rng(number).gamma(1.0, 1.0, size=size), dtype=torch.float32)


def check_weights(method_class: type[base.Method], options: Mapping[str, Any], follows: Mapping[str, Sign]) -> None:
    """The weights go the way that the card says in some stage, and in no stage another way, nor follow anything else.

    A card speaks of the whole method, of which one stage may search by weights and another train plainly.
    """
    stages = course_of(method_class, options, COUNTS, (0, 1))[1]
    seen: set[str] = set()
    for course in stages:
        if course.stage.epochs:
            seen.update(followed(method_class, options, follows, course.number))
    for what, sign in follows.items():
        said = "either way" if sign is None else f"{sign:+d}"
        require(sign == 0 or what in seen, f"in no stage do the weights follow {what}, where the card says {said}")


def followed(
    method_class: type[base.Method], options: Mapping[str, Any], follows: Mapping[str, Sign], number: int
) -> list[str]:
    """What the weights of one stage follow, of what the card says; fail if they go another way.

    None of it asks how the method computes them: one loss is raised, one class made rare, one class put into the target
    set, and the share of what that concerns is measured again.
    """

    def measure(**changed: Any) -> torch.Tensor:
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
    known = ", ".join(measured)
    require(set(follows) <= set(measured), f"the card says that weights follow {', '.join(follows)}; known: {known}")
    changed = [what for what, (before, then, _, _) in measured.items() if not torch.equal(before, then)]
    for what in changed:
        sign, (_, _, low, high) = follows.get(what, 0), measured[what]
        require(sign != 0, f"stage {number}: the weights follow {what}, of which the card says nothing")
        said = sign or 0
        text = f"stage {number}: {what}: the share of the weight goes from {low} to {high}, not {said:+d}"
        require(sign is None or bool(sign * (high - low) > 1e-6), text)
    return changed
