"""Generalized data weighting, GDW (Chen et al., NeurIPS 2021): a weight for each example and class.

The gradient of cross-entropy at the logits of example i is p_i − y_i, y_i one-hot; here p ← min(p, 0.999). Each entry
gets a weight Λ_ic of its own, under the constraint that (p − y) ⊙ Λ sums to 0 over the classes, as p − y does:

    Z(Λ)_{i,y_i} = Σ_{c ≠ y_i} Λ_ic p_ic / (1 − p_{i,y_i}),   Z(Λ)_ic = Λ_ic for the others

In every step, with V_φ of `methods/weight_net.py` and a batch of the meta set:

    Λ = Z(V_φ(ℓ_i) for every class c)                        a weight an example to begin with
    θ' = θ − η (1/B) Σ_i Σ_c Λ_ic (p_ic − y_ic) ∇_θ f_ic     f: logits; no momentum, no weight decay
    G = ∂L_meta(θ') / ∂Λ                                     of the Λ that Z gave
    φ ← step of `optimiser` along G ∂Λ/∂φ
    Λ ← Z(clamp(Λ − clamp(`class_rate` G / Σ |G|, ±`clip`), 1e-6, 1e6))
    θ ← step along (1/B) Σ_i Σ_c Λ_ic (p_ic − y_ic) ∇_θ f_ic

So φ teaches later steps. Z follows the last clamp, whose bounds an entry of the label may therefore leave by a little.
At first Z changes no value, but where p_{i,y_i} was cut at 0.999: all Λ_ic of a row are V, and p sums to 1. The first Λ
depends on φ alike with Z and without; G would be another, were it taken by the Λ that Z is given.

The step minimises ⟨f, (p − y) ⊙ Λ⟩/B with the second factor constant, which has that gradient. The weight that the
engine hears of an example is Λ_{i,y_i}/B, that of its label. All passes are in training mode with the batch's own
statistics and leave the running ones alone.

Formulas and constants are those of the authors' code (GGchen1997/GDW-NIPS2021 at 9aa54d3), which reports the mean of
the last five epochs. Where all of G is 0 it divides by 0; here Λ then stays. G comes without a second graph: with
v = ∇L_meta(θ') it is −(η/B) (p_ic − y_ic) ⟨v, ∇_θ f_ic⟩, one pass of dual numbers.
"""

import torch

from reweigh.hypergrad.lookahead import Parameters, directional_derivatives, gradient
from reweigh.methods import base, weight_net

CEILING = 0.999  # of probabilities
LEAST, MOST = 1e-6, 1e6  # of Λ, before the constraint


class Method(weight_net.Method):
    def prepare(self, at: base.Position) -> str:
        self.seek(at.step, at)
        return "step"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        shares, of_label = self.of_batch(step)
        error = (shares - of_label.to(shares)) / len(losses)
        network = {name: value.detach().requires_grad_() for name, value in self.network.items()}
        with torch.enable_grad():
            given = weight_net.outputs(network, losses[:, None])
            first = zero_mean(given[:, None].expand_as(shares), shares, of_label)
        slopes = self.slopes(step, first.detach() * error) * error
        through = torch.autograd.grad(first, list(network.values()), slopes)
        self.upper.step(dict(zip(network, through, strict=True)))
        weights = self.updated(first.detach(), slopes, shares, of_label)
        self.direction = weights * error
        of_examples = (weights * of_label).sum(1) / len(losses)
        self.log_spread(of_examples)
        return of_examples

    def of_batch(self, step: base.Step) -> tuple[torch.Tensor, torch.Tensor]:
        """p of the step's batch, cut at 0.999, and which entries are the labels'. -> (B, C), bool (B, C)."""
        shares = self.logits.detach().softmax(1).clamp(max=CEILING)
        return shares, step.batch.labels[:, None] == torch.arange(shares.shape[1], device=shares.device)

    def slopes(self, step: base.Step, direction: torch.Tensor) -> torch.Tensor:
        """∂L_meta(θ') by the direction in which the logits of θ' were to go. (B, C) -> (B, C)."""
        parameters = base.parameters_of(step.model)
        found = torch.autograd.grad(self.logits, list(step.model.parameters()), direction, retain_graph=True)
        ahead: Parameters = {
            name: value - self.step_size * slope for (name, value), slope in zip(parameters.items(), found, strict=True)
        }
        towards = gradient(lambda at: self.meta_loss(step, at), ahead)
        with self.products.taken():
            return -self.step_size * directional_derivatives(
                lambda at: self.logits_at(step, step.batch, at, True, "train"), parameters, towards
            )

    def updated(
        self, weights: torch.Tensor, slopes: torch.Tensor, shares: torch.Tensor, of_label: torch.Tensor
    ) -> torch.Tensor:
        """Λ (B, C) after its own step along G (B, C), the clamps, and the constraint again."""
        total, clip = slopes.abs().sum(), self.options["clip"]
        scale = self.options["class_rate"] / torch.where(total == 0, torch.ones_like(total), total)
        moved = (weights - (slopes * scale).clamp(-clip, clip)).clamp(LEAST, MOST)
        return zero_mean(moved, shares, of_label)

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        return (logits * self.direction).sum()


def zero_mean(weights: torch.Tensor, shares: torch.Tensor, of_label: torch.Tensor) -> torch.Tensor:
    """Z: the weights (B, C) with the label's such that Σ_c Λ_c (p_c − y_c) is 0, if p sums to 1.

    >>> weights, shares = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[0.5, 0.3, 0.2]])
    >>> zero_mean(weights, shares, torch.tensor([[True, False, False]]))
    tensor([[1.4000, 1.0000, 2.0000]])
    """
    own = (weights * shares.masked_fill(of_label, 0)).sum(1, keepdim=True) / (1 - shares)
    return torch.where(of_label, own, weights)
