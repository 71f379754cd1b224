"""ABAdam: the weights of ABSGD in a step of Adam, as its paper writes it (ABSGD, TMLR 2022, eq. 9) and never tries it.

    G = (1/B) Σ_i p̃_i ∇ℓ_i(θ)
    v ← β₁ v + (1 − β₁) G,    u ← β₂ u + (1 − β₂) G²,    θ ← θ − η (v / (√u + G₀) + ∇r(θ)),    v = u = 0 at first

Unlike in Adam as libraries have it, the start at 0 is not corrected for, and weight decay, ∇r(θ) = `weight_decay` · θ,
stays outside of the moments. The options are ABSGD's, `beta1`, `beta2` and G₀ = `stability`. The momentum of the spec
is not used.
"""

from collections.abc import Mapping
from typing import Any

import torch

from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods import absgd
from reweigh.optimisers import by_decay


class Method(absgd.Method):
    def optimiser(self, parameters: Parameters, decay: Mapping[str, float]) -> "PaperAdam":
        return PaperAdam(parameters, decay, **{name: self.options[name] for name in ("beta1", "beta2", "stability")})


class PaperAdam:
    """The step above (see `reweigh.optimisers`). The rate is a tensor: a captured step reads today's."""

    def __init__(
        self, parameters: Parameters, decay: Mapping[str, float], beta1: float, beta2: float, stability: float
    ) -> None:
        self.parameters, self.groups = dict(parameters), by_decay(parameters, decay)
        self.beta1, self.beta2, self.stability = beta1, beta2, stability
        self.v, self.u = ({name: torch.zeros_like(value) for name, value in parameters.items()} for _ in range(2))
        self.rate = next(iter(parameters.values())).new_zeros(())

    def prepare(self, rate: float) -> None:
        self.rate.fill_(rate)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor]) -> None:
        for decay, group in self.groups.items():
            names = [name for name in group if name in gradients]
            if names:
                self._step(gradients, names, decay)

    def _step(self, gradients: Mapping[str, torch.Tensor], names: list[str], decay: float) -> None:
        values, slopes, v, u = (
            [tensors[name] for name in names] for tensors in (self.parameters, gradients, self.v, self.u)
        )
        torch._foreach_mul_(v, self.beta1)
        torch._foreach_add_(v, slopes, alpha=1 - self.beta1)
        torch._foreach_mul_(u, self.beta2)
        torch._foreach_addcmul_(u, slopes, slopes, value=1 - self.beta2)
        scale = torch._foreach_sqrt(u)
        torch._foreach_add_(scale, self.stability)
        moves = torch._foreach_div(v, scale)
        torch._foreach_add_(moves, values, alpha=decay)
        torch._foreach_mul_(moves, self.rate)
        torch._foreach_sub_(values, moves)

    def state(self) -> dict[str, Any]:
        return {"v": self.v, "u": self.u}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for kept, saved in ((self.v, state["v"]), (self.u, state["u"])):
            for name, value in kept.items():
                value.copy_(saved[name])
