"""Margin-based reweighting, MBR (Jain, Suggala, Shenoy, CVPR 2024, baseline): weights by a first training's margins.

After Liu et al. (NeurIPS 2021, "MAIL"), whose margins are those of adversarial examples, taken anew in each epoch; here
they are those of `train_twice`, once. The paper gives no map from margins to weights; this one is MAIL's:

    first stages    ERM, and the margins PM_i
    u_i = σ(−γ (PM_i − β)),   w_i = u_i / Σ_j u_j in a batch                         γ = `slope`, β = `offset`
    second stage, from new weights, on the training set:  θ ← step along Σ_i w_i ∇ℓ_i(θ)

The margins of probabilities end at 1, so that an example which is learned at once keeps σ(−γ (1 − β)).
"""

import torch

from reweigh.methods import base, train_twice


class Method(train_twice.Method):
    def second_stage(self, epochs: int) -> base.Stage:
        return base.Stage("reweighted", epochs, fresh=True)

    def begin(self, stage: base.Stage, model: torch.nn.Module) -> None:
        self.weighs = stage.name == "reweighted"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if not self.weighs:
            return super().example_weights(step, losses)
        margins = self.margins[0, step.batch.rows]  # the training set comes first in the pool
        raw = torch.sigmoid(-self.options["slope"] * (margins - self.options["offset"]))
        return raw / raw.sum()
