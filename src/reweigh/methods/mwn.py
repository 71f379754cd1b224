"""Meta-Weight-Net (Shu et al., NeurIPS 2019): a network maps the loss of an example to its weight.

V is a perceptron, 1 – `hidden` – 1, ReLU, a sigmoid at its end; φ are its parameters. Every `meta_every` steps, with
the training batch (size B) and a batch of the meta set:

    θ'(φ) = θ − η ∇_θ (1/B) Σ_i V_φ(ℓ_i) ℓ_i(θ)          the virtual step; the ℓ_i that V sees are constants
    φ ← step of `optimiser` along ∇_φ L_meta(θ'(φ))       L_meta: the mean cross-entropy of the meta batch

and in every step, with the new φ where there is one,

    θ ← step along (1/B) Σ_i V_φ(ℓ_i) ∇ℓ_i(θ)             or, with `normalise`, Σ_i V_φ(ℓ_i) ∇ℓ_i(θ) / Σ_j V_φ(ℓ_j)

η is the learning rate of the step; the virtual step has no momentum and no weight decay. All passes are in training
mode with the batch's own statistics and leave the running ones alone; those of the training batch drop the same units.

The authors' code (xjtushujun/meta-weight-net at 3f1800f) has `meta_every` 1, Adam of rate 1e-3 and weight decay 1e-4,
and no normalisation; its older script for WRN-28-10 has SGD with Nesterov momentum, weight decay 5e-4, and normalises
in both steps. It evaluates on the test set after each epoch and reports the best; here the last epoch counts. The
derivative is theirs without their second graph (`hypergrad/weight_network.py`). `meta_every` above 1 is not in the
paper: the cost that MOLERE (Jain et al., CVPR 2024) states for this method asks for 5. Nor is `virtual_step` "shared":
there V learns after the step's weights are made, so that the virtual step is the step (`hypergrad/own_step.py`), and a
backward pass less is needed; "apart" is as above.
"""

import torch

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import Parameters
from reweigh.hypergrad.own_step import own_step, trained_by
from reweigh.hypergrad.weight_network import loss_weight_hypergradient
from reweigh.methods import base, weight_net


class Method(weight_net.Method):
    def prepare(self, at: base.Position) -> str:
        number, after = divmod(at.step, self.options["meta_every"])
        if after:
            self.learns = False
            return "inner"
        self.seek(number, at)
        return "outer"

    def seen(self, losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What V sees of the step's batch, given its losses (B,), detached. -> (B, width)."""
        return losses[:, None]

    def shares(self, network: Parameters, seen: torch.Tensor) -> torch.Tensor:
        """The weight of each example in the sum of losses. seen (B, width) -> (B,)."""
        weights = weight_net.outputs(network, seen)
        if not self.options["normalise"]:
            return weights / len(weights)
        total = weights.sum()
        return weights / torch.where(total > 0, total, torch.ones_like(total))

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        self.seen_now = self.seen(losses, step.batch)
        if step.program == "outer" and self.options["virtual_step"] == "apart":
            self.upper.step(self.hypergradient(step, self.seen_now))
        weights = self.shares(self.network, self.seen_now)
        if step.program == "outer":
            self.log_spread(weights)
        return weights

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if step.program != "outer" or self.options["virtual_step"] == "apart":
            return super().objective(step, logits, losses, weights)
        derivatives, objective = own_step(
            losses,
            weights,
            trained_by(step.model),
            lambda at: self.loss_at(step, step.batch, at, "train"),
            lambda at: self.meta_loss(step, at),
            self.step_size,
            self.products,
        )
        phi = {name: value.detach().requires_grad_() for name, value in self.network.items()}
        with torch.enable_grad():
            through = self.shares(phi, self.seen_now)
        slopes = torch.autograd.grad(through, list(phi.values()), derivatives)
        self.upper.step(dict(zip(phi, slopes, strict=True)))
        return objective

    def hypergradient(self, step: base.Step, seen: torch.Tensor) -> Parameters:
        """∇_φ L_meta(θ'(φ)), by the losses and the graph of the step's own pass. -> tensors as in φ."""
        return loss_weight_hypergradient(
            losses=lambda at: self.loss_at(step, step.batch, at, "train"),
            outer_loss=lambda at: self.meta_loss(step, at),
            parameters=base.parameters_of(step.model),
            weights_of=lambda network, _: self.shares(network, seen),
            weight_parameters=self.network,
            step_size=self.step_size,
            own=(self.losses, list(step.model.parameters())),
            products=self.products,
        )
