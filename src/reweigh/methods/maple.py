"""MAPLE-lite, after MAPLE (Zhou, Lin, Pi, Zhang, Xu, Cui, Zhang, ICML 2022): validation data say which to keep.

s_i is the probability that training example i is kept, `keep` at first, K = `keep` · N. Before each epoch e ≥
`from_epoch` =: e₀ a mask is drawn, with logistic noise g_i, and trained with; E epochs are left at e₀:

    m_i = 1[σ_i ≥ ½],  σ_i = σ(τ (log s_i − log(1 − s_i) + g_i)),  1/τ = (1 − 0.03) (1 − (e − e₀)/E) + 0.03
    θ ← step along Σ_i w_i ∇ℓ_i(θ),  w_i = m_i N / (B Σ_j m_j);  before e₀ w_i = 1/B

Before the next epoch the mask's gradient goes straight through the threshold (∂m_i/∂s_i := ∂σ_i/∂s_i):

    u   = ∇R(θ),   R = mean validation loss + `rex` · mean_c (R_c − mean_k R_k)²,   R_c that of class c
    d_i = −η / Σ_j m_j · ⟨u, ∇ℓ_i(θ)⟩ · ∂σ_i/∂s_i                 the look-ahead of one step at the mask, to first order
    s   ← Adam of rate `outer_learning_rate` along d, clipped to norm 3;   s ← the nearest s with 0 ≤ s ≤ 1, Σ_i s_i = K

MAPLE itself (x-zho14/MAPLE at e428b6e) is for data with environments, and trains to convergence from the start for
each of 30 outer steps; MOLERE's tables have it on data without, by no stated recipe. Hence "lite": classes stand for
environments, θ goes on from where it is, with one outer step an epoch, and θ is not trained anew in the end. Other
deviations: the code's projection only lowers scores, so that Σ s ≤ K; its outer loss is the penalty alone, on training
data; its look-ahead starts one step before θ, with momentum, and u is taken after it. Passes for s are in evaluation
mode on images as they are. d_i leaves out the derivative of 1 / Σ_j m_j, by which more kept is a shorter step. η is
the learning rate that training starts with: it matters to the clipping alone.
The trace has, for each mask, the share that it keeps, and the share of scores below ½.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import Parameters, by_group, directional_derivatives, gradient
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.models.layers import without_trace
from reweigh.optimisers import Adam
from reweigh.streams import rng

COLD, LIMIT, TINY, AT_ONCE = 0.03, 3.0, 1e-20, 500  # of the authors' code; the last ours, examples in a pass


class Method(base.Method):
    may_rest = True  # where the mask leaves out all examples of a batch

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("maple: the split holds nothing out; give it a validation part")
        self.mask = torch.ones(len(context.train), device=context.class_counts.device)
        self.scores, self.slopes = self.mask * options["keep"], torch.zeros_like(self.mask)
        self.outer = Adam({"scores": self.scores}, rate=options["outer_learning_rate"])

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        past = at.stage_epoch - self.options["from_epoch"]
        if past > 0:
            self.outer_step(model)
        if past >= 0:
            left = 1 - past / (at.stage.epochs - self.options["from_epoch"])
            drawn = rng(self.context.seed, "maple mask", at.stage_epoch).logistic(size=len(self.mask))
            self.draw(torch.from_numpy(drawn).to(self.mask), 1 / ((1 - COLD) * left + COLD))
            self.log(kept_share=self.mask.mean(), low_scores=(self.scores < 0.5).to(self.scores).mean())

    # --- the mask -------------------------------------------------------------------------------------------------

    def draw(self, noise: torch.Tensor, temperature: float) -> None:
        """m and ∂σ/∂s, of logistic noise (N,); in single precision, as in the code: at a score of 1 the slope is 0."""
        kept, left_out = self.scores + TINY, 1 - self.scores + TINY
        smooth = torch.sigmoid(temperature * (kept.log() - left_out.log() + noise))
        self.mask.copy_(smooth >= 0.5)
        self.slopes.copy_(temperature * smooth * (1 - smooth) * (1 / kept + 1 / left_out))

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        share = self.mask.sum().clamp(min=1) / len(self.mask)
        return (self.mask[step.batch.rows] / share).to(losses) / len(losses)

    # --- the scores -----------------------------------------------------------------------------------------------

    def outer_step(self, model: nn.Module) -> None:
        """One step of the scores, at the model and the mask as they are."""
        slopes = self.derivatives(model) * self.slopes
        slopes = slopes * (LIMIT / (slopes.norm() + 1e-6)).clamp(max=1)
        self.outer.prepare(self.options["outer_learning_rate"])
        self.outer.step({"scores": slopes.to(self.scores)})
        self.scores.copy_(projected(self.scores, self.options["keep"] * len(self.scores)))

    def derivatives(self, model: nn.Module) -> torch.Tensor:
        """∂R/∂m_i of the look-ahead, to first order. -> (N,)."""
        parameters, towards = base.parameters_of(model), self.outer_gradient(model)
        rate = self.context.learning_rate / self.mask.sum().clamp(min=1)
        found = [
            directional_derivatives(_losses(model, batch), parameters, towards)
            for batch in self.context.train.in_order(AT_ONCE)
        ]
        return -rate * torch.cat(found)

    def outer_gradient(self, model: nn.Module) -> Parameters:
        """∇R(θ): Σ_i a_i ∇ℓ_i over validation, as ∇ mean_c (R_c − R̄)² = 2 mean_c (R_c − R̄) ∇R_c."""
        validation, parameters = self.context.validation, base.parameters_of(model)
        assert validation is not None
        with torch.no_grad():
            losses = torch.cat([_losses(model, batch)(parameters) for batch in validation.in_order(AT_ONCE)])
        labels, classes = validation.labels, self.context.classes
        counts = by_group(torch.ones_like(losses), labels, classes)
        there, means = (counts > 0).to(losses), by_group(losses, labels, classes) / counts.clamp(min=1)
        beyond = there * (means - means.sum() / there.sum())  # the mean of a class that is not there is 0
        by_class = 2 * self.options["rex"] / there.sum() * beyond / counts.clamp(min=1)
        weights = 1 / len(losses) + by_class[labels]
        total = {name: torch.zeros_like(value) for name, value in parameters.items()}
        for batch in validation.in_order(AT_ONCE):
            for name, slope in gradient(_weighted(model, batch, weights[batch.rows]), parameters).items():
                total[name] += slope
        return total

    def state(self) -> dict[str, Any]:
        mine = {"mask": self.mask, "scores": self.scores, "slopes": self.slopes, "outer": self.outer.state()}
        return {**super().state(), **mine}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name in ("mask", "scores", "slopes"):
            getattr(self, name).copy_(state[name])
        self.outer.load_state(state["outer"])


def projected(scores: torch.Tensor, total: float) -> torch.Tensor:
    """The nearest point of the box [0, 1]ⁿ that sums to `total`: min(max(s − v, 0), 1), v by bisection. (n,)."""
    exact = scores.double()
    low, high = exact.min() - 1, exact.max()  # where all are kept, and none
    for _ in range(100):
        middle = (low + high) / 2
        above = (exact - middle).clamp(0, 1).sum() > total
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (exact - high).clamp(0, 1).to(scores)


def _losses(model: nn.Module, batch: Batch) -> Callable[[Parameters], torch.Tensor]:
    """The losses of a batch in evaluation mode, as a function of the parameters. θ -> (B,)."""

    def losses(at: Parameters) -> torch.Tensor:
        with without_trace(model, training=False):
            return cross_entropy(functional_call(model, at, (batch.inputs,)).float(), batch.labels)

    return losses


def _weighted(model: nn.Module, batch: Batch, weights: torch.Tensor) -> Callable[[Parameters], torch.Tensor]:
    """Σ_i weight_i ℓ_i of these losses. θ -> scalar."""
    passed = _losses(model, batch)
    return lambda at: weights @ passed(at)
