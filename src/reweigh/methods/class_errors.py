"""Class errors on a held-out half of the training set: the first step of HAR (Cao et al., ICLR 2021, algorithm 1).

    A, B ← the training set at random, half and half              not by class: those of a rare class vary
    θ ← step along (1/B) Σ_i ∇ℓ_i(θ),  i ∈ A                      plain cross-entropy under the run's schedule
    e_c = 1 − (of the examples of B with label c, the share that θ gives c)

`half` says on which half a net is trained: 0 is A, 1 is B, "both" trains one on each and takes the mean of the two
errors. Labels are those of training, noise included, so that e_c measures noise, difficulty and scarcity alike; images
are not augmented, and the net is in evaluation mode. Errors are kept after every epoch; the last ones count, unless who
asks says otherwise.

The halves are those of the authors' code (kaidic/HAR at 188a463) for equal seeds: a permutation by NumPy's old
generator, of which A is the first half, rounded down. Their confusion matrix has only the classes that it meets. Here
all have an error: that of a class which the held-out half lacks is 1, for not one example of it was got right; with
`half` "both" such a half adds nothing to the mean.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import Stream
from reweigh.methods import base
from reweigh.models.layers import without_trace

NAMES = ("estimate-0", "estimate-1")  # of the stages, by the half that they train on


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        halves = {None: [], "both": [0, 1]}.get(options["half"], [options["half"]])
        self.estimates = [NAMES[half] for half in halves]
        # In the held-out half of each: the examples of a class, and how many of them are wrong after each epoch.
        shape, device = (len(halves), context.epochs, context.classes), context.class_counts.device
        self.wrong = torch.zeros(shape, device=device)
        self.held_out = torch.zeros(len(halves), 1, context.classes, device=device)

    def stages(self, epochs: int) -> list[base.Stage]:
        return [
            base.Stage(name, epochs, part="members", fresh=number > 0) for number, name in enumerate(self.estimates)
        ]

    def prefix(self) -> base.Prefix | None:
        return base.Prefix(len(self.estimates), "class_errors", {"half": self.options["half"]})

    def members(self, stage: base.Stage) -> np.ndarray:
        return halves_of(len(self.context.train), self.context.seed)[NAMES.index(stage.name)]

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage.name in self.estimates and 0 < at.stage_epoch < at.stage.epochs:
            self._judge(at.stage, at.stage_epoch - 1, model)

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        super().end(stage, model)
        if stage.name in self.estimates:
            self._judge(stage, stage.epochs - 1, model)

    def _judge(self, stage: base.Stage, epoch: int, model: nn.Module) -> None:
        """The errors of the model on the half that it has not seen."""
        rows = halves_of(len(self.context.train), self.context.seed)[1 - NAMES.index(stage.name)]
        batches = self.context.train.stream(500, self.context.seed, "held-out-half", False, False, members=rows)
        number = self.estimates.index(stage.name)
        wrong, seen = wrong_by_class(model, batches, self.context.classes)
        self.wrong[number, epoch].copy_(wrong)
        self.held_out[number, 0].copy_(seen)
        self.log(held_out_errors=torch.where(seen > 0, wrong / seen, 1.0))

    def class_errors(self, after: int | None = None) -> torch.Tensor:
        """e_c after so many epochs, at most all; None: after the last. float64 (K,)."""
        epochs = self.wrong.shape[1]
        wrong, seen = self.wrong[:, min(after or epochs, epochs) - 1].double(), self.held_out[:, 0].double()
        there = seen > 0
        shares = torch.where(there, wrong / seen, 0.0).sum(0) / there.sum(0)
        return torch.where(there.any(0), shares, 1.0)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "wrong": self.wrong, "held_out": self.held_out}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.wrong.copy_(state["wrong"])
        self.held_out.copy_(state["held_out"])


def halves_of(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of both halves of a training set, int64; of an odd number the second has one more.

    >>> halves_of(5, seed=0)
    (array([2, 0]), array([1, 3, 4]))
    """
    order = np.random.RandomState(seed % 2**32).permutation(size)
    return order[: size // 2], order[size // 2 :]


def wrong_by_class(model: nn.Module, batches: Stream, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many examples of each class a model gets wrong, and how many there are. -> float32 (C,), float32 (C,)."""
    labels, right = [], []
    with torch.no_grad(), without_trace(model, training=False):
        for number in range(batches.per_cycle):
            batch = batches.batch(number)
            labels.append(batch.labels)
            right.append(model(batch.inputs).argmax(1) == batch.labels)
    all_labels, all_right = torch.cat(labels), torch.cat(right)
    seen = torch.bincount(all_labels, minlength=classes)
    return (seen - torch.bincount(all_labels[all_right], minlength=classes)).float(), seen.float()
