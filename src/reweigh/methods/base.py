"""What a method is: three answers, each in one place.

1. `example_losses`: what is the loss of each example?
2. `example_weights`: what is the weight of each example? The engine minimises Σ_i weight_i · loss_i.
3. `learn`: what does another data set (target, validation) teach the weights or the loss?

The engine owns the rest: batches, optimiser, schedule, stages, evaluation, checkpoints, timing. Where a paper needs
more, three hooks surround the step, each of which does nothing by default: `inputs` (what the model is shown of a
batch), `watch` (a context around the forward pass), `objective` (what is minimised).

All of these run on the device. On a GPU they are captured once and replayed, so they never ask a tensor for its value,
and what they remember from step to step lies in tensors that are written in place. Whatever depends on the number of
the step, the epoch or the stage is decided before it, on the host, by `prepare`, `begin_epoch` and `begin`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from reweigh import losses
from reweigh.data.batches import Batch, InputPart, Stream
from reweigh.hypergrad.lookahead import Parameters
from reweigh.models.layers import hold_dropout, without_trace
from reweigh.optimisers import Optimiser
from reweigh.weights import effective_number

PARTS = ("train", "train+validation", "train+target", "members", "members of train+validation")


@dataclass(frozen=True)
class Stage:
    """A stretch of training that hands its model on; a stage of 0 epochs consists of `Method.begin` alone.

    `part` is what it trains on: the training set; that and what was held out of it, "train+validation", or the target
    set, "train+target"; or "members", the rows of the training set that `Method.members` lists for each epoch, and
    "members of train+validation", rows of that. Labels and class counts follow the part.
    `fresh`: it starts from new weights, those that a run with this seed starts from. Its optimiser is always new.

    `train` is "all", or the name of what is trained in the head: "head", "head.scale". Everything else then keeps its
    parameters, and its running statistics. `sampling` is one of `reweigh.data.sampling`. `training` replaces keys of
    the spec's training block for the stage: batch_size, learning_rate, momentum, weight_decay, layer_weight_decay,
    nesterov, gradient_clip, and schedule, whose epochs count from the start of the stage.
    """

    name: str
    epochs: int
    train: str = "all"
    sampling: str = "uniform"
    training: Mapping[str, Any] = field(default_factory=dict)
    part: str = "train"
    fresh: bool = False

    @property
    def lists(self) -> bool:
        """Whether the method lists the rows that it trains on."""
        return self.part.startswith("members")

    @property
    def whole(self) -> str:
        """The part that it trains on, or from which the method lists rows."""
        return {"members": "train"}.get(self.part, self.part.removeprefix("members of "))


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands before a step. `step` and `epoch` count from 0 over the run, `stage_step` over the stage."""

    step: int
    epoch: int
    stage: Stage
    stage_step: int
    steps_per_epoch: int  # of the stage
    learning_rate: float  # of this step

    @property
    def stage_epoch(self) -> int:
        """The epoch, counted from 0 in the stage."""
        return self.stage_step // self.steps_per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the step is the last one of its epoch."""
        return (self.stage_step + 1) % self.steps_per_epoch == 0


@dataclass(frozen=True)
class Prefix:
    """The first `stages` stages of a method, trained as method `uses` with `options` would train them.

    Runs of whatever method whose prefixes are equal, on the same data and with the same seed, share one training. What
    they share is kept under a key that knows no more than this of their methods, so three things must hold, bit for
    bit. `options` are all that `uses` needs, and name every option that touches these stages; where `uses` is a method,
    its card accepts them, and an option without effect on these stages has a fixed value. A method overrides nothing
    of `uses` that acts in these stages, up to the last step. And what it needs of them later lies in the model and in
    the state of `uses`. tests/support/prefix_checks.py checks this of every method.
    """

    stages: int
    uses: str
    options: Mapping[str, Any]


def _no_model(stream: str) -> nn.Module:
    raise NotImplementedError(f"a context that makes no models was asked for {stream}")


@dataclass(frozen=True)
class RunContext:
    """What a method may know of its run.

    Counts, `train` and `fresh` are those of what the first stage trains on, and then of each stage in its turn; batch
    size, rates and epochs are those of the spec's training block, of which a stage may replace its own. Where the first
    stage is one of members, a method is made with the counts of the whole training set.
    """

    seed: int
    classes: int
    class_counts: torch.Tensor  # float32 (classes,), training examples of each class; of members, anew each epoch
    group_counts: torch.Tensor  # float32 (groups,); groups are the classes, or the values of a sensitive attribute
    batch_size: int
    epochs: int
    learning_rate: float  # of the first step after warm-up, before any decay
    weight_decay: float
    target: Stream | None  # batches of the target set
    fresh: Stream  # batches of the training set, apart from those that the model trains on
    train: InputPart  # what the stage trains on; of members, the whole training set
    validation: InputPart | None  # examples held out of the official training part
    new_model: Callable[[str], nn.Module] = _no_model  # like the run's; its first weights are from a stream so named


@dataclass(frozen=True, slots=True)
class Step:
    """One step of training, before it is taken."""

    number: torch.Tensor  # int64, 0-dimensional; counts from 0 over the whole run
    program: str  # what `Method.prepare` said of this step
    model: nn.Module
    batch: Batch
    dropout_seed: torch.Tensor | None  # int64, 0-dimensional; None for a model without dropout


class Method:
    """Base of all methods: one stage, nothing learned from elsewhere. Subclasses say what differs.

    Two options are every method's. `loss` names one of `reweigh.losses`; without it the loss is cross-entropy.
    `class_balance` multiplies it by the effective-number weight of its class (Cui et al., CVPR 2019), from epoch
    `from_epoch` on ("deferred re-weighting", Cao et al., NeurIPS 2019).

    `may_rest` says that all weights of a batch may be 0, where by its formula no example is worth a step. Of any other
    method that is a fault, and the run diverged; so did one of this kind that rests for a whole epoch. So may a loss
    drop all examples of a batch, but not all of an epoch.
    """

    may_rest = False

    def __init__(self, options: dict[str, Any], context: RunContext) -> None:
        self.options = options
        self.balance = options.get("class_balance")
        self.logged: dict[str, torch.Tensor] = {}
        self.follow(context)

    def follow(self, context: RunContext) -> None:
        """Train on what `context` says from here on: at first, and before each later stage.

        Each stage begins with a loss that remembers nothing and with class weights of 1. A method that keeps more of
        counts or examples adds to this.
        """
        self.context = context
        self.loss = losses.build(self.options.get("loss"), context.class_counts, len(context.train))
        self.class_weights = torch.ones_like(context.class_counts) if self.balance else None

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of a run of `epochs` epochs, in order."""
        return [Stage("train", epochs)]

    # --- stages -------------------------------------------------------------------------------------------------

    def members(self, stage: Stage) -> np.ndarray:
        """The rows of its part that a stage of members trains on, int64 (n,): in every epoch as many.

        In train+validation those of the training set come first, then those that were held out of it.

        It is asked when the run is made, before the stage begins, and after each `begin_epoch`; what it says then is
        that epoch's. It only says what the method remembers, and that lies in `state()`.
        """
        raise NotImplementedError

    def begin(self, stage: Stage, model: nn.Module) -> None:
        """What a stage needs before its first step: a new head, the class means of the features.

        It is called once a stage; a run that resumes calls it for every stage so far, and then loads the saved state
        over what it did. So whatever it makes must lie in the model or in `state()`, but for the shape of the model.
        Gradients are off in `begin`, `begin_epoch` and `end`; `hypergrad.lookahead.gradient` turns them on.
        """

    def end(self, stage: Stage, model: nn.Module) -> None:
        """What the model of a stage teaches, after its last step: it is not asked again, so it lies in `state()`.

        Of stages that another run trained (`prefix`) it is called for the last one, on the model that they left.
        """

    def prefix(self) -> Prefix | None:
        """The stages at the beginning that runs of other methods may have in common with this one, if there are any."""
        return None

    # --- before a step, on the host -----------------------------------------------------------------------------

    def begin_epoch(self, at: Position, model: nn.Module) -> None:
        """Before the first step of an epoch. Writes tensors in place; what it logs is kept.

        Epochs of class weights and of what a loss remembers count from the start of the stage.
        """
        self._balance(at)
        with torch.no_grad(), without_trace(model, training=False):
            self.loss.refresh(at.stage_epoch, lambda inputs: self.predict(model, inputs), self.context.train)

    def recount(self, at: Position) -> None:
        """The class counts of the context have changed in place, as other members train: what follows from them."""
        self.loss.recount()
        self._balance(at)

    def _balance(self, at: Position) -> None:
        if self.balance and self.class_weights is not None and at.stage_epoch >= self.balance["from_epoch"]:
            self.class_weights.copy_(effective_number(self.context.class_counts, self.balance["beta"]))

    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> Optimiser | None:
        """What moves `parameters`, each with its weight decay; None: the engine's momentum SGD."""
        return None

    def prepare(self, at: Position) -> str:
        """Before a step, on the host: seek the streams that it will read, and name what it will do.

        Steps of one name run the same operations, on batches of the same size. Of a method that always does the same
        the name is "step".
        """
        return "step"

    # --- the step, on the device --------------------------------------------------------------------------------

    def learn(self, step: Step) -> None:
        """What another data set teaches before this step is taken. Must leave the model as it is."""

    def inputs(self, step: Step, batch: Batch) -> torch.Tensor:
        """What the model is shown of the step's batch: mixed, augmented by what was learned. -> as `batch.inputs`."""
        return batch.inputs

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        """A context around the step's forward pass, for a method that needs what hidden layers say."""
        return nullcontext()

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each example, class weights included. logits (B, C) -> (B,)."""
        return self.loss(logits, batch, self.balance_of(batch))

    @property
    def rests(self) -> bool:
        """Whether all weights of a batch may be 0 in a run of this method."""
        return self.may_rest or self.loss.drops

    def balance_of(self, batch: Batch) -> torch.Tensor | None:
        """The class weights (C,) that are in the losses of a batch; None if there are none."""
        return self.class_weights

    def counted(self, batch: Batch, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights (B,) with those of the classes, 0 for what the loss drops, and their sum: 1 in plain training."""
        if (kept := self.loss.keeps(batch)) is not None:
            weights = torch.where(kept, weights, 0.0)
        if (balance := self.balance_of(batch)) is None:
            return weights, weights.sum()
        return weights * balance[batch.labels], weights @ balance[batch.labels]

    def example_weights(self, step: Step, losses: torch.Tensor) -> torch.Tensor:
        """The weight of each example of the step's batch, given its losses (detached). (B,) -> (B,)."""
        raise NotImplementedError

    def objective(self, step: Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """What the step minimises. logits (B, C), losses (B,) with their graph, weights (B,) without one -> scalar."""
        return weights @ losses

    # --- everything else ----------------------------------------------------------------------------------------

    def predict(self, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) for evaluation."""
        return model(inputs)

    def state(self) -> dict[str, Any]:
        """What the method has learned so far, for a checkpoint: tensors and plain values. Subclasses add to it."""
        return {"loss": self.loss.state(), "class_weights": self.class_weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.loss.load_state(state["loss"])
        if self.class_weights is not None:
            self.class_weights.copy_(state["class_weights"])

    def log(self, **values: torch.Tensor) -> None:
        """Keep one row of each named tensor in the run's trace."""
        self.logged.update(values)

    def losses_at(self, step: Step, batch: Batch, parameters: Parameters, training: bool, name: str) -> torch.Tensor:
        """The losses of `batch` at other parameters, by a pass that changes nothing of the model. -> (B,)."""
        return self.example_losses(self.logits_at(step, batch, parameters, training, name), batch)

    def logits_at(self, step: Step, batch: Batch, parameters: Parameters, training: bool, name: str) -> torch.Tensor:
        """The logits of `batch` at other parameters, by a pass that changes nothing of the model. -> (B, C).

        `name` names the dropout mask: passes of one step under one name drop the same units; "train" is the mask of
        the step itself.
        """
        hold_dropout(step.model, step.dropout_seed, name)
        with without_trace(step.model, training):
            logits = functional_call(step.model, parameters, (batch.inputs,))
        return logits.float()


def parameters_of(model: nn.Module) -> Parameters:
    """The model's parameters, detached: name -> tensor that shares its memory."""
    return {name: value.detach() for name, value in model.named_parameters()}
