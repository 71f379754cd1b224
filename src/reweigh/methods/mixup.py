"""Mixup (Zhang, Cissé, Dauphin, Lopez-Paz, ICLR 2018): training on mixtures of two examples, and of their labels.

For each batch of B examples, with one λ ~ Beta(α, α) and one permutation π of the batch, α = `alpha`:

    x̃_i = λ x_i + (1 − λ) x_{π(i)}
    ℓ_i = λ ℓ(f_θ(x̃_i), y_i) + (1 − λ) ℓ(f_θ(x̃_i), y_{π(i)}),    θ ← step along (1/B) Σ_i ∇ℓ_i(θ)

Inputs are mixed as the model would see them, augmented and scaled, as in the authors' code (facebookresearch's
mixup-cifar10). π orders the batch by uniform keys: a permutation of a short last batch too. λ and the keys are drawn
for each step of the run on the host.

`loss` is one of `reweigh.losses`, null cross-entropy. With `class_balance` each of the two losses has the weight of its
own label, and their sum is averaged as plain training does: both halves of it have the same labels, so that
1/Σ_j v_{y_j} is the mean of either. A loss that drops examples says nothing of a mixture and is refused.
"""

from typing import Any

import torch

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.methods import base
from reweigh.streams import rng


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if self.loss.drops:
            raise ConfigError("mixup: this loss drops examples, of which a mixture has two; set its truncation to null")
        device = context.class_counts.device
        self.share = context.class_counts.new_zeros(())  # λ of the step
        self.keys = torch.zeros(context.batch_size, dtype=torch.float64, device=device)

    def prepare(self, at: base.Position) -> str:
        generator = rng(self.context.seed, "mixup", at.step)
        self.share.fill_(generator.beta(self.options["alpha"], self.options["alpha"]))
        self.keys.copy_(torch.from_numpy(generator.random(len(self.keys))))
        return "step"

    def inputs(self, step: base.Step, batch: Batch) -> torch.Tensor:
        self.order = self.keys[: len(batch)].argsort()
        return self.share * batch.inputs + (1 - self.share) * batch.inputs[self.order]

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        order = self.order
        other = Batch(batch.inputs, batch.labels[order], batch.groups[order], batch.rows[order])
        own, others = (super(Method, self).example_losses(logits, one) for one in (batch, other))
        return self.share * own + (1 - self.share) * others

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if self.class_weights is None or self.loss.average == "mean":
            return torch.full_like(losses, 1 / len(losses))
        return torch.ones_like(losses) / self.class_weights[step.batch.labels].sum()
