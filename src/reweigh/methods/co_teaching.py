"""Co-teaching (Han et al., NeurIPS 2018, algorithm 1): two nets, each of which chooses what the other learns.

Nets f and g are of one architecture and begin at different random weights. In every step, on one batch of B:

    R   = τ · min(1, e / (T_k − 1))                        e: the epoch, from 0; τ = `noise_rate`, T_k = `rises_over`
    k   = ⌊(1 − R) B⌋, at least 1
    S_f = the k examples with the smallest ℓ_i(f),   S_g = those with the smallest ℓ_i(g)
    f ← step along (1/k) Σ_{i ∈ S_g} ∇ℓ_i(f),        g ← step along (1/k) Σ_{i ∈ S_f} ∇ℓ_i(g)

Both see the same images, in training mode. f is the run's net: it predicts, and its losses and weights (1/k or 0) are
those of the curves. g is the module `peer` of f's, so that the same optimiser moves both, each with moments of its own,
and g lies in a checkpoint as f does.

R is that of the authors' code (bhanML/Co-teaching at 07a0f57): 0 in the first epoch, τ from the T_k-th on. (The paper
counts epochs from 1 and has min(e / T_k, 1) τ, which is τ/T_k in the first.) Where ⌊·⌋ of a product of floats falls
short of a whole number by rounding alone, k is that number. The code divides the mean loss by k once more; here, as in
the paper, the mean is the mean. It also skips the first epoch of its plan, and reports both nets.

`optimiser`: "sgd" is the run's own, with its schedule. "adam" takes rate, schedule and weight decay of the training
block. From epoch `decay_from` on the rate falls linearly, by (E − e) / (E − `decay_from`) of E epochs, and β₁ is
`late_beta1`: in the code from 1e-3, in 200 epochs, at epoch 80, to 0.1. Two limits of one module for two nets: a
gradient clip is of both gradients together, and weight decay by layer is refused, as it would reach f alone.

The trace has, for each epoch, which share of the k examples both nets chose, on average.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods import base
from reweigh.optimisers import Adam, Optimiser

BETA1 = 0.9  # of Adam, before it falls
PEER = "peer"


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.kept_share = 1.0  # 1 − R, of the step that is prepared
        self.adam: PacedAdam | None = None
        self.common = torch.zeros(2, device=context.class_counts.device)  # Σ |S_f ∩ S_g| / k of an epoch, and its steps

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        model.add_module(PEER, self.context.new_model(PEER))

    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> Optimiser | None:
        if len(set(decay.values())) > 1:
            raise ConfigError("two nets train here; layer_weight_decay would reach the first alone: leave it out")
        self.adam = PacedAdam(parameters, self.context.learning_rate, decay=decay) if self._is_adam() else None
        return self.adam

    def _is_adam(self) -> bool:
        return bool(self.options["optimiser"]["name"] == "adam")

    # --- before a step --------------------------------------------------------------------------------------------

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage_step:
            self.log_common()

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        self.log_common()

    def log_common(self) -> None:
        """Log what both nets chose in the epoch, and begin to count anew."""
        self.log(chosen_by_both=self.common[0] / self.common[1])
        self.common.zero_()

    def prepare(self, at: base.Position) -> str:
        self.kept_share = self.share_of(at)
        beta1 = BETA1
        if self.adam is not None:
            factor, beta1 = decayed(at, self.options["optimiser"])
            self.adam.pace(at.learning_rate * factor, beta1)
        return f"keeps {self.kept_share!r}, β₁ {beta1}"

    def share_of(self, at: base.Position) -> float:
        """The share of a batch that is kept in the epoch."""
        return 1 - forget_rate(at.stage_epoch, self.options["noise_rate"], self.options["rises_over"])

    # --- the step -------------------------------------------------------------------------------------------------

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        logits = step.model.get_submodule(PEER)(step.batch.inputs).float()
        self.peer_losses = self.example_losses(logits, step.batch)
        self.peer_weights = smallest(losses, self.kept_share)
        weights = smallest(self.peer_losses.detach(), self.kept_share)
        both = ((weights > 0) & (self.peer_weights > 0)).sum() / kept(self.kept_share, len(losses))
        self.common.add_(torch.stack((both, torch.ones_like(both))))
        return weights

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        return weights @ losses + self.peer_weights @ self.peer_losses  # no parameter is in both

    def state(self) -> dict[str, Any]:
        return {**super().state(), "common": self.common}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.common.copy_(state["common"])


# --- what is kept ----------------------------------------------------------------------------------------------------


def forget_rate(epoch: int, noise_rate: float, rises_over: int) -> float:
    """R in an epoch, counted from 0.

    >>> [round(forget_rate(epoch, 0.2, 5), 2) for epoch in range(7)]
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2]
    """
    return noise_rate * min(1.0, epoch / (rises_over - 1) if rises_over > 1 else 1.0)


def kept(share: float, size: int) -> int:
    """How many of a batch of `size` a share is, rounded down, but at least one.

    >>> kept(1 - 0.16, 128), kept(1 - 0.9, 10), kept(0.01, 5)  # 0.84 · 128 is 107.52; (1 - 0.9) · 10 is below 1
    (107, 1, 1)
    """
    return max(1, int(share * size + 1e-9))


def smallest(losses: torch.Tensor, share: float) -> torch.Tensor:
    """1/k for the k examples with the smallest losses, of equal ones the first; else 0. losses (B,) -> (B,)."""
    size = kept(share, len(losses))
    places = losses.sort(stable=True).indices[:size]
    return torch.zeros_like(losses).index_fill(0, places, 1 / size)


# --- the optimiser ---------------------------------------------------------------------------------------------------


def decayed(at: base.Position, optimiser: Mapping[str, Any]) -> tuple[float, float]:
    """What the rate is multiplied by in the epoch of a step, and β₁."""
    first, epoch, epochs = optimiser["decay_from"], at.stage_epoch, at.stage.epochs
    if first is None or epoch < first:
        return 1.0, BETA1
    return (epochs - epoch) / (epochs - first), optimiser["late_beta1"]


class PacedAdam(Adam):
    """Adam whose rate and β₁ a method sets before each step, as it knows the epoch: the engine's rate is not used."""

    def prepare(self, rate: float) -> None:
        """Nothing; see `pace`."""

    def pace(self, rate: float, beta1: float) -> None:
        """Before a step, on the host. Each β₁ is a program of its own, as a captured step keeps the number."""
        self.betas = beta1, self.betas[1]
        super().prepare(rate)
