"""JTT, just train twice (Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn, ICML 2021, algorithm 1).

    identify:  T = `first_epochs` epochs of plain training;   E = {i : argmax f(x_i) ≠ y_i} among the training examples
    retrain:   a fresh model, with each example of E 1 + λ times in the training set, λ = `upweight`

A set in which an example lies m_i times is drawn from like one with weights: the mean step of a batch is that of

    w_i = m_i / (B · mean_j m_j),    m_i = 1 + λ [i ∈ E]

so there is no other loader here. Deviations: an epoch keeps its N/B steps, where the authors' code (anniesch/jtt at
1de6cc5) has (N + λ|E|)/B; and a batch of these weights varies more than one of repeated examples. E is taken in
evaluation mode and without augmentation, as theirs is. They choose T and λ by the worst group's accuracy on validation
data, train at rates of 1e-5 to 1e-3, and stop early by the same accuracy; none of it is done here.

The first stage is the first T epochs of plain training, under the schedule of the training block: a decay beyond T is
not reached. The trace has the share of E, once.
"""

from typing import Any

import torch
from torch import nn

from reweigh.methods import base
from reweigh.models.layers import without_trace

FIRST = "identify"


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.wrong = torch.zeros(len(context.train), device=context.class_counts.device)

    def stages(self, epochs: int) -> list[base.Stage]:
        return [base.Stage(FIRST, self.options["first_epochs"]), base.Stage("retrain", epochs, fresh=True)]

    def prefix(self) -> base.Prefix:
        return base.Prefix(1, "jtt", {**self.options, "upweight": 0.0})

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.retrains = stage.name != FIRST

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == FIRST:
            with without_trace(model, training=False):
                for batch in self.context.train.in_order(500):
                    wrong = self.predict(model, batch.inputs).argmax(1) != batch.labels
                    self.wrong[batch.rows] = wrong.to(self.wrong)
            self.log(error_share=self.wrong.mean())

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if not self.retrains:
            return torch.full_like(losses, 1 / len(losses))
        times = 1 + self.options["upweight"] * self.wrong
        return (times[step.batch.rows] / times.mean()).to(losses) / len(losses)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "wrong": self.wrong}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.wrong.copy_(state["wrong"])
