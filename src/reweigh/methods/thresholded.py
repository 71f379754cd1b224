"""A method whose predictions may have a class threshold that held-out examples choose: what several have in common.

The control that AutoBalance (Li et al., NeurIPS 2021) lacks: on two classes, a lower group-balanced error and a smaller
difference of opportunity may come of the decision threshold alone (`reweigh/thresholds.py`). With option `threshold`,

    fit     θ on the training set alone; then b, T ← the threshold that its logits of the validation set like best
    train   θ anew on both; predictions are argmax of (f_0/T, f_1/T + b)

Without it there is no stage `fit`, and predictions are those of the model. `threshold` says the objective, a blend of
`losses/objectives.py` but for group_la, whether `by` losses or errors, and the temperatures that are tried. The trace
holds the choice and what it reached. A class or cell that the validation set has no example of has no say.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reweigh import thresholds
from reweigh.data.batches import Batch, InputPart
from reweigh.errors import ConfigError
from reweigh.losses.objectives import Objective
from reweigh.methods import base
from reweigh.models.layers import without_trace

FIT = "fit"


class Method(base.Method):
    """Base of methods with an option `threshold`. One that has a first stage of its own calls `choose` in `end`."""

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.threshold = options["threshold"]
        zero = context.class_counts.new_zeros((), dtype=torch.float64)
        self.chosen = {"offset": zero.clone(), "temperature": zero + 1}
        if self.threshold:
            if context.classes != 2:
                raise ConfigError(
                    f"threshold: it is of two classes, and this set has {context.classes}; set it to null"
                )
            if context.validation is None:
                raise ConfigError("threshold: validation examples choose it; set validation_size or validation_share")
            wanted_of(
                context.validation, self.threshold["objective"], context
            )  # refused now, not after the first stage

    def after_fit(self, last: base.Stage) -> list[base.Stage]:
        """The stages of a method that trains in one: with a threshold it begins anew after a stage `fit`."""
        return [base.Stage(FIT, last.epochs), replace(last, fresh=True)] if self.threshold else [last]

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == FIT:
            self.choose(model)

    def choose(self, model: nn.Module) -> None:
        """Choose the threshold, if one is wanted, by the logits of the validation set. On the host, once a run."""
        if self.threshold:
            held_out: InputPart = self.context.validation  # type: ignore[assignment]
            wanted = wanted_of(held_out, self.threshold["objective"], self.context)
            found = thresholds.choose(
                logits_of(model, held_out),
                held_out.labels,
                wanted,
                self.threshold["by"],
                self.threshold["temperatures"],
            )
            for name, value in self.chosen.items():
                value.fill_(getattr(found, name))
            self.log(**{f"threshold_{name}": torch.tensor(value) for name, value in found._asdict().items()})

    def predict(self, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        logits = super().predict(model, inputs)
        return thresholds.adjusted(logits, **self.chosen) if self.threshold else logits

    def state(self) -> dict[str, Any]:
        return {**super().state(), "threshold": self.chosen}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name, value in self.chosen.items():
            value.copy_(state["threshold"][name])


def logits_of(model: nn.Module, part: InputPart) -> torch.Tensor:
    """The logits of a whole part, never augmented: float32 (N, C)."""
    with torch.no_grad(), without_trace(model, training=False):
        return torch.cat([model(batch.inputs).float() for batch in part.in_order(500)])


def wanted_of(part: InputPart, blend: Mapping[str, float], context: base.RunContext) -> thresholds.Wanted:
    """A blend of a whole part, of one value an example, such as losses or errors: float64 (O, N) -> (O,)."""
    counts = [
        torch.bincount(values, minlength=len(known)).double()
        for values, known in ((part.labels, context.class_counts), (part.groups, context.group_counts))
    ]
    objective = Objective(blend, *counts)
    rows = torch.arange(len(part), device=part.labels.device)
    everything = Batch(rows, part.labels, part.groups, rows)  # of which no inputs are asked
    return torch.vmap(lambda values: objective.of(values, everything))
