"""Template of a method: weights that follow the mean loss of a class. `reweigh new method NAME` begins from this file.

Name the paper and its equations here, in the form of its algorithm box, with every deviation (compare Duchi and
Namkoong, 2021: weights by the loss of a subpopulation):

    m_c ← (1 − γ) m_c + γ · mean of ℓ_i over the batch's examples of class c       m_c = 1 at first, γ = `gamma`
    w_i = m_{y_i} / Σ_j m_{y_j},    θ ← step along Σ_i w_i ∇ℓ_i(θ)
"""

from typing import Any

import torch

from reweigh.hypergrad.lookahead import by_group
from reweigh.methods import base


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        # What the method remembers from step to step lies in tensors, on the device of the run ...
        self.means = torch.ones_like(context.class_counts)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        # From tensors to tensors: no `if tensor`, no `.item()`. What depends on the number of the step, the epoch or
        # the stage is decided on the host beforehand, in `prepare`, `begin_epoch` or `begin`.
        labels, classes = step.batch.labels, self.context.classes
        counts = by_group(torch.ones_like(losses), labels, classes)
        new = by_group(losses, labels, classes) / counts.clamp(min=1)
        gamma = self.options["gamma"]
        # ... that are written in place: a captured step reads and writes the same addresses each time ...
        self.means.copy_(torch.where(counts > 0, (1 - gamma) * self.means + gamma * new, self.means))
        weights = self.means[labels]
        return weights / weights.sum()

    # Other questions that a method may answer: `stages` (what trains how long), `example_losses` (another loss),
    # `learn` (what a target or validation set teaches, see tdr.py), `optimiser`, `predict`. See base.py.

    def state(self) -> dict[str, Any]:
        # ... and that a checkpoint keeps: a run that was killed goes on to the same bits.
        return {**super().state(), "means": self.means}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.means.copy_(state["means"])
