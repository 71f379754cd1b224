"""The stages of a run: what each trains on, how long, and the streams of its batches."""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.data.arrays import Part, RawData, Split
from reweigh.data.batches import InputPart, Stream, make_part
from reweigh.data.standardise import STANDARDISED, standardised
from reweigh.errors import ConfigError
from reweigh.methods.base import PARTS, Method, Position, RunContext, Stage
from reweigh.models import build
from reweigh.streams import stream_seed
from reweigh.training.schedule import learning_rate

# What a stage may replace of the spec's training block; the rest is the run's.
REPLACEABLE = {
    "batch_size", "learning_rate", "momentum", "weight_decay", "nesterov", "gradient_clip", "schedule",
    "layer_weight_decay",
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The parts of a split as one run uses them, each made when it is first needed."""

    spec: dict[str, Any]
    raw: RawData
    split: Split
    device: torch.device

    @cached_property
    def inputs(self) -> RawData:
        """The raw data, with the inputs that a run sees where these depend on its split: features, standardised."""
        if self.spec["data"]["scale_inputs"] == STANDARDISED:
            return standardised(self.raw, self.split.train.index)
        return self.raw

    @cached_property
    def train(self) -> InputPart:
        return self._made(self.split.train)

    @cached_property
    def validation(self) -> InputPart | None:
        return self._made(self.split.validation) if len(self.split.validation) else None

    @cached_property
    def train_and_validation(self) -> InputPart:
        return self._made(self.split.train.joined(self.split.validation))

    @cached_property
    def train_and_target(self) -> InputPart:
        return self._made(self.split.train.joined(self.split.target))

    @cached_property
    def target(self) -> InputPart | None:
        return self._made(self.split.target) if len(self.split.target) else None

    @cached_property
    def test(self) -> InputPart:
        return self._made(self.split.test, train=False)

    def of(self, stage: Stage) -> InputPart:
        """What a stage trains on, or chooses members from. Raises ConfigError if there is no such part."""
        if stage.part not in PARTS:
            raise ConfigError(f"stage {stage.name}: no part {stage.part!r}; use one of: {', '.join(PARTS)}")
        if stage.whole == "train+validation":
            if not len(self.split.validation):
                raise ConfigError(f"stage {stage.name} trains on {stage.part}, but the split holds nothing out")
            return self.train_and_validation
        if stage.whole == "train+target":
            if not len(self.split.target) or self.spec["data"]["split"]["target_inside"]:
                has = "it has one already: target_inside" if len(self.split.target) else "the split has no target set"
                raise ConfigError(f"stage {stage.name} trains on train+target, but {has}")
            return self.train_and_target
        return self.train

    def groups_of(self, part: Part, train: bool = True) -> np.ndarray | None:
        """The data set's own groups of examples of an official part, int64 (N,), whatever weights are by; or None."""
        groups = self.raw.train_groups if train else self.raw.test_groups
        return groups[part.index] if self.raw.has_groups and groups is not None else None

    def clean_labels(self, part: Part) -> np.ndarray | None:
        """The true labels of examples of the official training part, int64 (N,); None where they are the given ones."""
        raw = self.raw.train_labels if self.raw.train_clean_labels is None else self.raw.train_clean_labels
        clean = raw[part.index]
        if self.spec["data"]["split"]["kind"] == "two-class":
            kept = self.spec["data"]["split"]["classes"]
            clean = np.array([kept.index(label) for label in clean.tolist()], np.int64)
        return None if np.array_equal(clean, part.label) else clean

    def _made(self, part: Part, train: bool = True) -> InputPart:
        layout = self.spec["training"].get("layout") or "channels-last"
        return make_part(self.inputs, part, self.spec["data"], self.device, train, layout)


@dataclass
class Course:
    """A stage as one run takes it: its examples and batches, its training block, where it begins."""

    number: int
    stage: Stage
    part: InputPart
    batches: Stream
    training: dict[str, Any]  # the spec's training block with what the stage replaces
    first_step: int
    first_epoch: int
    class_counts: torch.Tensor  # float32 (classes,)
    group_counts: torch.Tensor  # float32 (groups,)
    members: np.ndarray | None  # the rows that the present epoch is drawn from, int64 (n,); None for all

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.per_cycle

    @property
    def steps(self) -> int:
        return self.stage.epochs * self.steps_per_epoch

    def at(self, stage_step: int) -> Position:
        """The position of a step of the stage, counted from 0 in it."""
        epoch = self.first_epoch + stage_step // self.steps_per_epoch
        schedule, base = self.training["schedule"], self.training["learning_rate"]
        rate = learning_rate(schedule, base, stage_step, self.steps_per_epoch, self.stage.epochs)
        return Position(self.first_step + stage_step, epoch, self.stage, stage_step, self.steps_per_epoch, rate)

    def trained(self, model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """The parameters that the stage trains, the others being held, and the weight decay of each, by name.

        The decay is that of the stage, biases too, but for layers that the training block names: a parameter has that
        of the longest beginning of its name. Raises ConfigError for a name of the stage's own that the model has not.
        """
        if self.stage.train != "all" and self.stage.train.partition(".")[0] != "head":
            raise ConfigError(
                f"stage {self.stage.name} trains {self.stage.train!r}; it can be all, head, or a part of it"
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.stage.train == "all" or f"{name}.".startswith(f"{self.stage.train}."))
        trained: dict[str, torch.Tensor] = {
            name: value for name, value in model.named_parameters() if value.requires_grad
        }
        if not trained:
            raise ConfigError(f"stage {self.stage.name}: the model has no parameters of the name {self.stage.train}")
        check_layers(self.stage.training.get("layer_weight_decay") or {}, model)
        by_layer = self.training.get("layer_weight_decay") or {}
        named = {name: max(filter(name.startswith, by_layer), key=len, default=None) for name in trained}
        return trained, {
            name: self.training["weight_decay"] if layer is None else by_layer[layer] for name, layer in named.items()
        }

    def result(self, curves: Mapping[str, list[Any]]) -> dict[str, Any]:
        """The stage, for the record: its length, what it trained on, its batches, the first of its best epochs."""
        columns = (curves["stage"], curves["test_accuracy"], curves["epoch"])
        reached = [
            (accuracy, -epoch)
            for number, accuracy, epoch in zip(*columns, strict=True)
            if number == self.number and accuracy is not None
        ]
        accuracy, epoch = max(reached, default=(None, None))
        stated = {name: getattr(self.stage, name) for name in ("name", "epochs", "train", "part", "fresh", "sampling")}
        return {
            **stated,
            "batch_size": self.training["batch_size"],
            "steps_per_epoch": self.steps_per_epoch,
            "best_epoch": None if epoch is None else -epoch,
            "best_epoch_test_accuracy": accuracy,
        }

    def follow(self, members: np.ndarray) -> None:
        """Draw the next epochs from these members of the part, and count them, in place."""
        self.batches.follow(members)
        self.members = members
        for counts, values in ((self.class_counts, self.part.labels), (self.group_counts, self.part.groups)):
            counts.copy_(_counted(values, len(counts), members))


def courses(method: Method, parts: Parts, training: dict[str, Any], seed: int) -> list[Course]:
    """The stages of a method, one after the other: each with a stream of its own, as long as its sampling makes it."""
    taken: list[Course] = []
    step = epoch = 0
    for number, stage in enumerate(method.stages(training["epochs"])):
        if unknown := sorted(stage.training.keys() - REPLACEABLE):
            raise ConfigError(f"stage {stage.name} cannot replace {unknown[0]} of the training block")
        part, block = parts.of(stage), {**training, **stage.training}
        members = _members_of(method, stage, len(part)) if stage.lists else None
        name = f"batches-{number}" if number else "batches"
        stream = part.stream(block["batch_size"], seed, name, True, training["drop_last"], stage.sampling, members)
        counts = [
            _counted(values, len(known), members)
            for values, known in (
                (part.labels, method.context.class_counts),
                (part.groups, method.context.group_counts),
            )
        ]
        if stage.epochs and not stream.per_cycle:
            raise ConfigError(f"stage {stage.name} has no example to train on")
        taken.append(Course(number, stage, part, stream, block, step, epoch, counts[0], counts[1], members))
        step, epoch = step + taken[-1].steps, epoch + stage.epochs
    return taken


def members_of(method: Method, course: Course) -> np.ndarray:
    """The rows that a method lists for a stage of members now: int64 (n,).

    Raises ConfigError for what are no rows, such as a mask, which would train on rows 0 and 1.
    """
    return _members_of(method, course.stage, len(course.part))


def _members_of(method: Method, stage: Stage, examples: int) -> np.ndarray:
    rows = method.members(stage)
    what = f"stage {stage.name}: members() must give"
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
        kind = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise ConfigError(f"{what} an array of integers (n,), not {kind}; of a mask, np.flatnonzero(mask)")
    if len(rows) and not 0 <= rows.min() <= rows.max() < examples:
        raise ConfigError(f"{what} rows from 0 to {examples - 1}, not from {rows.min()} to {rows.max()}")
    return rows.astype(np.int64)  # a copy: the method may change its own in place


def new_model(parts: Parts, classes: int, stream: str | None = None) -> nn.Module:
    """The model of a run with the weights that its seed starts from, or with others: from the stream of this name."""
    known, training, seed = parts.spec["model"], parts.spec["training"], parts.spec["seed"]
    layout = training.get("layout") or "channels-last"
    drawn_by = seed if stream is None else stream_seed(seed, stream)
    model = build(known["name"], parts.train.input_shape, classes, drawn_by, layout, **known["options"])
    model.to(parts.device)
    if training["precision"] == "bf16":  # the model alone: losses and weights stay fp32
        model.forward = torch.autocast(parts.device.type, torch.bfloat16)(model.forward)
    return model


def method_of(spec: Mapping[str, Any], parts: Parts, classes: int) -> Method:
    """The method of a run. What it is told when it is made is about the part that its first stage trains on."""
    module = importlib.import_module(f"reweigh.methods.{spec['uses']}")
    method: Method = module.Method(spec["method_options"], first_context(parts, parts.train, classes))
    for stage in method.stages(spec["training"]["epochs"])[:1]:
        if stage.whole != "train":  # only a method that is made can say so
            method = module.Method(spec["method_options"], first_context(parts, parts.of(stage), classes))
    return method


def first_context(parts: Parts, part: InputPart, classes: int) -> RunContext:
    """What a method may know of its run when it is made, and its first stage trains on `part`."""
    training, seed = parts.spec["training"], parts.spec["seed"]
    augmented = parts.spec["method_options"].get("target_augment", True)
    target = parts.target
    return RunContext(
        seed=seed,
        classes=classes,
        class_counts=_counted(part.labels, len(parts.split.class_counts)),
        group_counts=_counted(part.groups, len(parts.split.group_counts)),
        batch_size=training["batch_size"],
        epochs=training["epochs"],
        learning_rate=training["learning_rate"],
        weight_decay=training["weight_decay"],
        target=target.stream(training["target_batch_size"], seed, "target-batches", augmented) if target else None,
        fresh=part.stream(training["batch_size"], seed, "fresh-batches", True),
        train=part,
        validation=parts.validation,
        new_model=functools.partial(new_model, parts, classes),
    )


def check(taken: list[Course], model: nn.Module) -> None:
    """Raise ConfigError for what only the model and the sizes of a run's stages can tell.

    That is a name of a layer that the model has not, and a stage that trains batch norm on a batch of one: sizes depend
    on the draw where a share of noisy labels is held out, and on the method where it chooses members.
    """
    for course in taken:
        own = course.stage.training.get("layer_weight_decay") is not None  # it may name layers that are still to come
        check_layers({} if own else course.training.get("layer_weight_decay") or {}, model)
    if any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        for course in taken:
            if course.stage.epochs and course.stage.train == "all" and course.batches.last == 1:
                raise ConfigError(
                    f"stage {course.stage.name}: the last batch of an epoch has one example, which batch norm cannot "
                    "normalise; change batch_size, or set drop_last"
                )


def check_layers(named: Mapping[str, Any], model: nn.Module) -> None:
    """Raise ConfigError for a name in `layer_weight_decay` with which no parameter of the model begins."""
    names = [name for name, _ in model.named_parameters()]
    for beginning in named:
        if not any(name.startswith(beginning) for name in names):
            known = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in names))
            raise ConfigError(f"layer_weight_decay: no parameter begins with {beginning!r}; layers: {known}")


def context_of(course: Course, before: RunContext, seed: int) -> RunContext:
    """What a method may know in a later stage, or in one of members."""
    same = course.part is before.train
    return replace(
        before,
        class_counts=course.class_counts,
        group_counts=course.group_counts,
        fresh=before.fresh if same else course.part.stream(before.batch_size, seed, "fresh-batches", True),
        train=course.part,
    )


def _counted(values: torch.Tensor, count: int, members: np.ndarray | None = None) -> torch.Tensor:
    """How often each of 0 … count − 1 occurs among values (N,), or among those of some members. -> float32 (count,)."""
    chosen = values if members is None else values[torch.from_numpy(members).to(values.device)]
    return torch.bincount(chosen, minlength=count).float()
