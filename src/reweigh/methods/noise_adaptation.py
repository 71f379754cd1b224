"""A noise adaptation layer (Goldberger and Ben-Reuven, ICLR 2017), simple version: label noise as a layer on top.

p_i(x) = softmax(f_θ(x))_i is the probability of the true class i, Q (K × K) that of the label j where i is true, and
each row of Q is a softmax of free scores u:

    Q_ij = exp(u_ij) / Σ_k exp(u_ik)
    ℓ_n = −log Σ_i p_i(x_n) Q_{i, y_n},    θ, u ← steps along (1/B) Σ_n ∇ℓ_n, both at the same θ and u

    ∂/∂u_ij = Q_ij Σ_k R_ik − R_ij,   R_ij = (1/B) Σ_n r_n(i) [y_n = j],   r_n(i) = p_i(x_n) Q_{i, y_n} / exp(−ℓ_n)

Predictions are those of p. At first, by `initial`:

    confusion   Q_ij is the share of label j among the training examples that a first stage, `warm_epochs` epochs of
                plain training, predicts to be i; u = log(Q + 1e-8). Images are not augmented, the net is in evaluation
                mode. A class that is never predicted begins as in:
    diagonal    Q = 0.9 I + 0.1/K, from the first step on

u is moved by `optimiser` at `rate`, null that of the model at each step, without weight decay, which would draw Q
towards the uniform matrix. In the authors' code (udibr/noisy_labels) one Adam moves θ and u.

Deviations: with "confusion" the first stage is part of the budget of `epochs` and the net goes on from it, where
theirs is trained to its end, and both trainings stop early. The net's momentum begins anew with the second stage.
Its schedule is `second_schedule`, whose epochs count from the start of that stage; null: that of the training block.

The trace has the last Q.
"""

from typing import Any

import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.hypergrad.lookahead import by_group
from reweigh.methods import base
from reweigh.models.layers import without_trace
from reweigh.optimisers import Adam, MomentumSGD

FIRST = "erm"
KEPT = 0.9  # of each class, by the diagonal start
TINY = 1e-8  # what logs of shares are kept from


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.scores = diagonal(context.class_counts).log()  # u
        rate = options["rate"] or context.learning_rate
        self.matrix_optimiser: MomentumSGD | Adam = (
            MomentumSGD({"scores": self.scores}, rate, options["momentum"])
            if options["optimiser"] == "sgd"
            else Adam({"scores": self.scores}, rate)
        )

    def stages(self, epochs: int) -> list[base.Stage]:
        if self.options["initial"] == "diagonal":
            return [base.Stage("adapted", epochs)]
        warm, schedule = self.options["warm_epochs"], self.options["second_schedule"]
        own = {"schedule": schedule} if schedule else {}
        return [base.Stage(FIRST, warm), base.Stage("adapted", epochs - warm, training=own)]

    # --- Q at first, and at the end -------------------------------------------------------------------------------

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.adapts = stage.name != FIRST

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == FIRST:
            self.scores.copy_((self._confusion(model) + TINY).log())
        else:
            self.log(noise_matrix=self.scores.softmax(1))

    def _confusion(self, model: nn.Module) -> torch.Tensor:
        """The share of each label among the training examples of each prediction. -> (K, K), rows that sum to 1."""
        classes, counts = self.context.classes, torch.zeros_like(self.scores)
        with without_trace(model, training=False):
            for batch in self.context.train.in_order(500):
                places = self.predict(model, batch.inputs).argmax(1) * classes + batch.labels
                counts += torch.bincount(places, minlength=classes**2).view(classes, classes)
        predicted = counts.sum(1, keepdim=True)
        return torch.where(predicted > 0, counts / predicted, diagonal(self.context.class_counts))

    # --- the step -------------------------------------------------------------------------------------------------

    def prepare(self, at: base.Position) -> str:
        if self.adapts:
            self.matrix_optimiser.prepare(self.options["rate"] or at.learning_rate)
        return at.stage.name

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        if not self.adapts:
            return super().example_losses(logits, batch)
        return -joint(logits, self.scores, batch.labels).logsumexp(1)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return torch.full_like(losses, 1 / len(losses))

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if self.adapts:
            self.matrix_optimiser.step({"scores": slope(logits.detach(), self.scores, step.batch.labels, weights)})
        return weights @ losses

    def state(self) -> dict[str, Any]:
        return {**super().state(), "scores": self.scores, "matrix_optimiser": self.matrix_optimiser.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.scores.copy_(state["scores"])
        self.matrix_optimiser.load_state(state["matrix_optimiser"])


def diagonal(counts: torch.Tensor) -> torch.Tensor:
    """0.9 I + 0.1/K, for K classes with these counts (K,). -> (K, K)."""
    spread = (1 - KEPT) / len(counts)
    return counts.new_full((len(counts), len(counts)), spread).fill_diagonal_(KEPT + spread)


def joint(logits: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p_i(x_n) + log Q_{i, y_n}. logits (B, K), scores (K, K), labels (B,) -> (B, K)."""
    return logits.log_softmax(1) + scores.log_softmax(1).T[labels]


def slope(logits: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The derivative of Σ_n w_n ℓ_n by the scores u (K, K). logits (B, K), labels and weights (B,) -> (K, K)."""
    responsible = weights[:, None] * joint(logits, scores, labels).softmax(1)
    shares = by_group(responsible, labels, len(scores)).T  # R
    return scores.softmax(1) * shares.sum(1, keepdim=True) - shares
