"""META (Jamal, Brown, Yang, Wang, Gong, CVPR 2020): class weights, corrected for each example by a small clean set.

Before epoch `from_epoch`: plain training, w_i = 1/B. From then on, for each batch, with a_i the effective-number weight
of the class y_i (Cui et al. 2019, `beta`), and a batch of the meta set (the split's target set):

    θ' = θ − η_meta ∇_θ Σ_i a_i ℓ_i(θ)                       a look-ahead along the sum, from ε = 0
    ε_i = −`weight_rate` · ∂L_meta(θ')/∂ε_i                  = `weight_rate` · η_meta ⟨∇L_meta(θ'), ∇ℓ_i(θ)⟩
    θ ← step along (1/B) Σ_i (a_i + ε_i) ∇ℓ_i(θ)             weights may be negative, and their sum is free

η_meta = `meta_learning_rate`, times `meta_factor` from each epoch of `meta_milestones` on: in the public code one epoch
after the optimiser's own. All passes are in training mode with the batch's own statistics, and leave the model's
running ones alone. The public code has cross-entropy only; here ℓ is `loss`, and L_meta, the mean loss on the meta
batch, is of cross-entropy or, with `meta_loss` "own", of that loss again; where the meta set has a class that the
training set has not, and this loss needs its size (LDAM), "own" has no meaning and is refused. a_i is taken over the
classes that exist.
"""

import torch

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import directional_derivatives, gradient
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.weights import effective_number


class Method(base.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        if options["meta_loss"] == "own" and self.loss.by_row:
            raise ConfigError("meta: this loss remembers training examples; set meta_loss to cross_entropy")
        if options["meta_loss"] == "own" and self.loss.undefined:
            raise ConfigError(
                f"meta: class {self.loss.undefined[0]} has no training example, so this loss has no meaning for those "
                "in the target set; set meta_loss to cross_entropy"
            )
        self.prior = effective_number(context.class_counts, options["beta"])  # type: ignore[arg-type]

    def prepare(self, at: base.Position) -> str:
        epoch = at.stage_epoch
        if epoch < self.options["from_epoch"]:
            return "plain"
        decays = sum(epoch >= milestone for milestone in self.options["meta_milestones"])
        self.step_size = self.options["meta_learning_rate"] * self.options["meta_factor"] ** decays
        self.context.target.seek(at.step)  # type: ignore[union-attr]
        return f"meta {self.step_size}"

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        self.losses = super().example_losses(logits, batch)
        return self.losses

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if step.program == "plain":
            return torch.full_like(losses, 1 / len(losses))
        prior, parameters = self.prior[step.batch.labels], base.parameters_of(step.model)
        # The look-ahead goes back through the step's own pass, which is then not made twice.
        gradients = torch.autograd.grad(prior @ self.losses, list(step.model.parameters()), retain_graph=True)
        ahead = {
            name: value - self.step_size * slope
            for (name, value), slope in zip(parameters.items(), gradients, strict=True)
        }
        target = self.context.target.current()  # type: ignore[union-attr]
        towards = gradient(lambda at: self.meta_loss(self.logits_at(step, target, at, True, "target"), target), ahead)
        derivatives = -self.step_size * directional_derivatives(
            lambda at: self.loss(self.logits_at(step, step.batch, at, True, "train"), step.batch), parameters, towards
        )
        return (prior - self.options["weight_rate"] * derivatives) / len(losses)

    def meta_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """L_meta of a batch of the meta set. logits (B, C) -> scalar."""
        own = self.options["meta_loss"] == "own"
        return (self.loss(logits, batch) if own else cross_entropy(logits, batch.labels)).mean()
