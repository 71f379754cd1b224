"""Example reweighting, the baseline of TDR (Ren, Zeng, Yang, Urtasun, ICML 2018, algorithm 1).

Each step asks a batch of the target set which examples of the training batch are worth a step:

    q_i = ⟨∇L_target(θ), ∇ℓ_i(θ)⟩            the derivative −∂L_target/∂ε_i of a look-ahead from ε = 0, where θ' = θ
    w_i = max(q_i, 0) / Σ_j max(q_j, 0)      (all 0 if no example helps)
    θ  ← step along Σ_i w_i ∇ℓ_i(θ)          scale "sum" (`er`); "mean" divides by B once more (`er_mean`)

Both passes are in training mode with the batch's own statistics, as in the authors' CIFAR code. The look-ahead's step
size cancels in w. "mean" is what a per-example ancestor in TDR's own history did; it makes every step B times smaller.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from reweigh.hypergrad.lookahead import directional_derivatives, gradient
from reweigh.hypergrad.shared_pass import along
from reweigh.methods import base
from reweigh.weights import rectified_share


class Method(base.Method):
    may_rest = True  # where no example of the batch helps the target set, there is no step

    def prepare(self, at: base.Position) -> str:
        self.context.target.seek(at.step)  # type: ignore[union-attr]
        return "step"

    def learn(self, step: base.Step) -> None:
        target = self.context.target.current()  # type: ignore[union-attr]
        self.towards = gradient(
            lambda at: self.losses_at(step, target, at, training=True, name="target").mean(),
            base.parameters_of(step.model),
        )

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        # The step's own pass is that of the look-ahead from ε = 0: it carries the derivative beside its values.
        with along(model, self.towards) as passes:
            yield
        ((self.logits, self.slopes),) = passes

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        derivatives = directional_derivatives(
            lambda at: self.example_losses(at["logits"], step.batch),
            {"logits": self.logits.float()},
            {"logits": self.slopes.float()},
        )
        weights = rectified_share(derivatives)
        return weights / len(losses) if self.options["scale"] == "mean" else weights
