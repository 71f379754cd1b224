"""ABAdam: the weights of ABSGD in a step of Adam, as its paper writes it (ABSGD, TMLR 2022, eq. 9) and never tries it.

    G = (1/B) Σ_i p̃_i ∇ℓ_i(θ)
    v ← β₁ v + (1 − β₁) G,    u ← β₂ u + (1 − β₂) G²,    θ ← θ − η (v / (√u + G₀) + ∇r(θ)),    v = u = 0 at first

Unlike in Adam as libraries have it, the start at 0 is not corrected for, and weight decay, ∇r(θ) = `weight_decay` · θ,
stays outside of the moments. The options are ABSGD's, `beta1`, `beta2` and G₀ = `stability`. The momentum of the spec
is not used.
"""

from typing import Any

import torch

from reweigh.methods import absgd


class Method(absgd.Method):
    def optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        known = {name: self.options[name] for name in ("beta1", "beta2", "stability")}
        return PaperAdam(groups, self.context.learning_rate, **known)


class PaperAdam(torch.optim.Optimizer):
    """The step above, over groups of `params` with their `weight_decay`. `lr` is a tensor: a captured step reads it."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, beta1: float, beta2: float, stability: float) -> None:
        super().__init__(groups, {"lr": lr, "beta1": beta1, "beta2": beta2, "stability": stability})
        for group in self.param_groups:
            group["lr"] = torch.tensor(lr, device=group["params"][0].device)
            for parameter in group["params"]:
                self.state[parameter] = {"v": torch.zeros_like(parameter), "u": torch.zeros_like(parameter)}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                _step(moved, [self.state[parameter] for parameter in moved], group)


def _step(parameters: list[torch.Tensor], states: list[dict[str, torch.Tensor]], group: dict[str, Any]) -> None:
    gradients = [parameter.grad for parameter in parameters]
    first, second = ([state[name] for state in states] for name in ("v", "u"))
    torch._foreach_mul_(first, group["beta1"])
    torch._foreach_add_(first, gradients, alpha=1 - group["beta1"])  # type: ignore[arg-type]
    torch._foreach_mul_(second, group["beta2"])
    torch._foreach_addcmul_(second, gradients, gradients, value=1 - group["beta2"])  # type: ignore[arg-type]
    scale = torch._foreach_sqrt(second)
    torch._foreach_add_(scale, group["stability"])
    move = torch._foreach_div(first, scale)
    torch._foreach_add_(move, parameters, alpha=group["weight_decay"])
    torch._foreach_mul_(move, group["lr"])
    torch._foreach_sub_(parameters, move)
