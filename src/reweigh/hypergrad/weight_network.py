"""Weights that a network reads off the losses of the very step that they weigh (Meta-Weight-Net, NeurIPS 2019).

The same derivative as `lookahead.weight_hypergradient`, one pass cheaper: the losses that the network sees, detached,
are those that the look-ahead step is then taken along.
"""

from collections.abc import Callable

import torch

from reweigh.hypergrad.lookahead import (
    ExampleLosses,
    OuterLoss,
    Parameters,
    directional_derivatives,
    gradient,
)

WeightsOf = Callable[[Parameters, torch.Tensor], torch.Tensor]  # φ, losses (B,) -> (B,)


def loss_weight_hypergradient(
    losses: ExampleLosses,
    outer_loss: OuterLoss,
    parameters: Parameters,
    weights_of: WeightsOf,
    weight_parameters: Parameters,
    step_size: float,
) -> Parameters:
    """d outer_loss(θ'(φ)) / dφ, θ'(φ) = θ − η Σ_i g_φ(ℓ_i) ∇ℓ_i(θ), the ℓ_i that g sees being constants. -> as φ."""
    theta = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    phi = {name: value.detach().requires_grad_() for name, value in weight_parameters.items()}
    with torch.enable_grad():
        found = losses(theta)
        weights = weights_of(phi, found.detach())
        inner = torch.autograd.grad(weights.detach() @ found, list(theta.values()))
    ahead = {name: value.detach() - step_size * step for (name, value), step in zip(theta.items(), inner, strict=True)}
    derivatives = -step_size * directional_derivatives(losses, parameters, gradient(outer_loss, ahead))
    through = torch.autograd.grad(weights, list(phi.values()), derivatives, allow_unused=True, materialize_grads=True)
    return dict(zip(phi, through, strict=True))
