"""A fixed blend of objectives, Σ_r λ_r L_r: what AutoBalance (Li et al., NeurIPS 2021, §4) compares its searches with.

    θ ← step along ∇ Σ_r λ_r L_r(θ)              (1 − λ) · CE + λ · L_reg for L_reg of CE_deo, CE_bal^G, Group-LA
    w_i = Σ_r λ_r ∂L_r/∂ℓ_i                      what the loss of an example counts for in it

`objective` gives each L_r of `losses/objectives.py` its λ_r. All are of raw logits, but for `ce`: that is the mean of
`loss`, any of `reweigh.losses`, with `class_balance` where it stands alone. So {ce: 1} is plain training, and with
LDAM or the parametric cross-entropy (logit adjustment, CDT, VS) a row of AutoBalance's Table 1. L_r are those of the
batch, and their counts those of what the stage trains on.

|L_1 − L_2| of CE_deo is what it is, with slope 0 at 0, so that weights may be negative: of CE_deo alone they sum to 0,
and a batch in which no class has both of its cells has no weight at all, which is a fault; larger batches have them.
Of group_la an example's own loss has other logits; its weight counts like the others'.

`part` is what it trains on: with "train+validation" it has as much to learn from as a method that searches and then
trains again. `threshold` is of `methods/thresholded.py`.
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.losses import cross_entropy
from reweigh.losses.objectives import Objective
from reweigh.methods import base, thresholded


class Method(thresholded.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if self.others and self.loss.drops:
            raise ConfigError("blend: this loss drops examples, which the other objectives count; take ce alone")

    def follow(self, context: base.RunContext) -> None:
        super().follow(context)
        blend = dict(self.options["objective"])
        self.share = blend.pop("ce", 0.0)
        others = {name: share for name, share in blend.items() if share}
        self.others = Objective(others, context.class_counts, context.group_counts) if others else None

    def stages(self, epochs: int) -> list[base.Stage]:
        return self.after_fit(base.Stage("train", epochs, part=self.options["part"]))

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        self.plain = cross_entropy(logits, batch.labels).detach()
        return super().example_losses(logits, batch)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        self.of_mean = mean_weights(losses, step.batch, self.class_weights if self.loss.average == "weighted" else None)
        weights = self.share * self.of_mean
        return weights if self.others is None else weights + self.others.weights(self.plain, step.batch)

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if self.others is None:
            return weights @ losses
        return self.share * (self.of_mean @ losses) + self.others(logits, step.batch)


def mean_weights(losses: torch.Tensor, batch: Batch, class_weights: torch.Tensor | None) -> torch.Tensor:
    """The weights of a mean over a batch: 1/B, or 1/Σ_j v_{y_j} where class weights v (C,) in them average out."""
    if class_weights is None:
        return torch.full_like(losses, 1 / len(losses))
    return torch.ones_like(losses) * (1 / class_weights[batch.labels].sum())
