"""What a method is: three answers, each in one place.

1. `example_losses`: what is the loss of each example?
2. `example_weights`: what is the weight of each example? The engine minimises Σ_i weight_i · loss_i.
3. `learn`: what does another data set (target, validation) teach the weights or the loss?

The engine owns the rest: batches, optimiser, schedule, stages, evaluation, checkpoints, timing.

These three run on the device. On a GPU they are captured once and replayed, so they never ask a tensor for its value,
and what they remember from step to step lies in tensors that are written in place. Whatever depends on the number of
the step is decided before it, on the host, by `prepare`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from reweigh.data.batches import Batch, Stream
from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import cross_entropy
from reweigh.models.layers import hold_dropout, without_trace


@dataclass(frozen=True)
class Stage:
    """A stretch of training that hands its model on: `epochs` epochs of the whole model or of its `head`."""

    name: str
    epochs: int
    train: str = "all"


@dataclass(frozen=True)
class Setting:
    """What a method may know of its run before it starts."""

    seed: int
    classes: int
    class_counts: torch.Tensor  # float32 (classes,), training examples of each class
    group_counts: torch.Tensor  # float32 (groups,); groups are the classes, or the values of a sensitive attribute
    batch_size: int
    steps_per_epoch: int
    learning_rate: float  # of the first step after warm-up, before any decay
    weight_decay: float
    target: Stream | None  # batches of the target set
    fresh: Stream  # batches of the training set, apart from those that the model trains on


@dataclass(frozen=True, slots=True)
class Step:
    """One step of training, before it is taken."""

    number: torch.Tensor  # int64, 0-dimensional; counts from 0 over the whole run
    program: str  # what `Method.prepare` said of this step
    model: nn.Module
    batch: Batch
    dropout_seed: torch.Tensor | None  # int64, 0-dimensional; None for a model without dropout


class Method:
    """Base of all methods: cross-entropy, one stage, nothing learned from elsewhere. Subclasses say what differs."""

    def __init__(self, options: dict[str, Any], setting: Setting) -> None:
        self.options, self.setting = options, setting
        self.logged: dict[str, torch.Tensor] = {}

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of a run of `epochs` epochs, in order."""
        return [Stage("train", epochs)]

    def prepare(self, number: int) -> str:
        """Before step `number`, on the host: seek the streams that it will read, and name what it will do.

        Steps of one name run the same operations, on batches of the same size. Of a method that always does the same
        the name is "step".
        """
        return "step"

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each example. logits (B, C) -> (B,)."""
        return cross_entropy(logits, batch.labels)

    def example_weights(self, step: Step, losses: torch.Tensor) -> torch.Tensor:
        """The weight of each example of the step's batch, given its losses (detached). (B,) -> (B,)."""
        raise NotImplementedError

    def learn(self, step: Step) -> None:
        """What another data set teaches before this step is taken. Must leave the model as it is."""

    def predict(self, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) for evaluation."""
        return model(inputs)

    def state(self) -> dict[str, Any]:
        """What `learn` has learned so far, for a checkpoint: tensors and plain values."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""

    def log(self, **values: torch.Tensor) -> None:
        """Keep one row of each named tensor in the run's trace."""
        self.logged.update(values)

    def losses_at(self, step: Step, batch: Batch, parameters: Parameters, training: bool, name: str) -> torch.Tensor:
        """The losses of `batch` at other parameters, by a pass that changes nothing of the model. -> (B,).

        `name` names the dropout mask: passes of one step under one name drop the same units; "train" is the mask of
        the step itself.
        """
        hold_dropout(step.model, step.dropout_seed, name)
        with without_trace(step.model, training):
            logits = functional_call(step.model, parameters, (batch.inputs,))
        return self.example_losses(logits.float(), batch)


def parameters_of(model: nn.Module) -> Parameters:
    """The model's parameters, detached: name -> tensor that shares its memory."""
    return {name: value.detach() for name, value in model.named_parameters()}
