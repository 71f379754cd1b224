"""Group DRO (Sagawa, Koh, Hashimoto, Liang, ICLR 2020, algorithm 1): the worst group's loss, by weights that follow it.

With L_c the mean loss of group c in the batch, and q uniform over the groups at first:

    q_c ← q_c · exp(`rate` · L_c),    q ← q / Σ_c q_c
    θ   ← step along Σ_c q_c ∇L_c(θ)                        w_i = q_{c(i)} / B_{c(i)}, B_c the group's examples in it

As in the authors' code (kohpangwei/group_DRO) a group that the batch does not have counts as one of loss 0: its q_c is
only divided, and it has no part in the step, so that the weights of such a batch sum to less than 1. A group without
training examples has q_c = 0. In AutoBalance (NeurIPS 2021, Table 3) the groups are the cells of class and attribute.
Deviations: the authors draw batches in which all groups are equally frequent, here they are drawn as the others'; with
full batches q moves far less often than in their runs; the generalisation adjustment is 0. `part` says what it trains
on, `threshold` is of `methods/thresholded.py`.

The trace has a row an epoch, q after its last step.
"""

from typing import Any

import torch

from reweigh.hypergrad.lookahead import by_group
from reweigh.methods import base, thresholded
from reweigh.weights import equal


class Method(thresholded.Method):
    def follow(self, context: base.RunContext) -> None:
        super().follow(context)
        self.q = equal(context.group_counts.double())

    def stages(self, epochs: int) -> list[base.Stage]:
        return self.after_fit(base.Stage("train", epochs, part=self.options["part"]))

    def prepare(self, at: base.Position) -> str:
        self.last = at.ends_epoch
        return "step, end of epoch" if self.last else "step"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        groups, losses_ = step.batch.groups, losses.double()
        examples = by_group(torch.ones_like(losses_), groups, len(self.q)).clamp(min=1)
        raised = self.q * torch.exp(self.options["rate"] * by_group(losses_, groups, len(self.q)) / examples)
        self.q.copy_(raised / raised.sum())
        if self.last:
            self.log(group_weights=self.q.clone())
        return (self.q / examples)[groups].to(losses)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "q": self.q}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.q.copy_(state["q"])
