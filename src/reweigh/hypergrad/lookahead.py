"""Hypergradients of one look-ahead step, exactly and without a second graph.

A look-ahead step is θ' = θ − η (Σ_i w_i ∇ℓ_i(θ) + λ θ). The derivative of an outer loss L(θ') + λ/2 ‖θ'‖² with respect
to the weight of example i is

    ∂L/∂w_i = −η ⟨u, ∇ℓ_i(θ)⟩,    u = ∇L(θ') + λ θ',

so one ordinary gradient at θ' gives u, and ONE forward-mode pass of the vector of example losses along u gives all
B derivatives at once (TDR, KDD 2020, eq. 9 is this sum taken by class). Parameters are dictionaries name -> tensor.
"""

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

Parameters = dict[str, torch.Tensor]
ExampleLosses = Callable[[Parameters], torch.Tensor]  # θ -> (B,)
OuterLoss = Callable[[Parameters], torch.Tensor]  # θ -> scalar


def gradient(loss: OuterLoss, parameters: Parameters) -> Parameters:
    """∇ loss(θ): name -> tensor of the parameter's shape. Leaves no graph and no `.grad` behind."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(leaves), list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))


def directional_derivatives(losses: ExampleLosses, parameters: Parameters, direction: Parameters) -> torch.Tensor:
    """⟨direction, ∇ℓ_i(θ)⟩ for every example i of `losses`, in one forward-mode pass. -> (B,)."""
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value.detach(), direction[name]) for name, value in parameters.items()}
        tangent = forward_ad.unpack_dual(losses(duals)).tangent
    if tangent is None:
        raise ValueError("the example losses do not depend on the parameters")
    return tangent


def look_ahead(
    losses: ExampleLosses, parameters: Parameters, weights: torch.Tensor, step_size: float, decay: float = 0.0
) -> Parameters:
    """θ' = θ − η (Σ_i w_i ∇ℓ_i(θ) + λ θ): one plain gradient step, not applied to the model. weights (B,)."""
    gradients = gradient(lambda at: weights @ losses(at), parameters)
    return {
        name: value.detach() * (1 - step_size * decay) - step_size * gradients[name]
        for name, value in parameters.items()
    }


def example_hypergradient(
    losses: ExampleLosses,
    outer_loss: OuterLoss,
    parameters: Parameters,
    weights: torch.Tensor | None,
    step_size: float,
    decay: float = 0.0,
) -> torch.Tensor:
    """∂ outer_loss(θ') / ∂ w_i at `weights` (B,), θ' being the look-ahead step with them. -> (B,).

    `weights=None` stands for all zero, where θ' = θ: the case of example reweighting (Ren et al. 2018), and cheaper.
    `decay` is the weight decay λ of both losses (TDR's public code adds it to the outer loss too).
    """
    at = parameters if weights is None else look_ahead(losses, parameters, weights, step_size, decay)
    outer_gradient = gradient(outer_loss, at)
    if decay:
        outer_gradient = {name: value + decay * at[name].detach() for name, value in outer_gradient.items()}
    return -step_size * directional_derivatives(losses, parameters, outer_gradient)


def by_group(derivatives: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
    """Example derivatives (B,) summed by group (B,): the derivative by a weight that a group shares. -> (count,)."""
    # A product with the one-hot matrix, not index_add_: that one sums in no fixed order on a GPU.
    return torch.nn.functional.one_hot(groups, count).to(derivatives.dtype).T @ derivatives
