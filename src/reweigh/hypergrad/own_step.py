"""A look-ahead step that is the classifier's own step: its gradient is made once, for both.

θ' = θ − η Σ_i w_i ∇ℓ_i(θ) is the step that the classifier takes anyway, less its momentum and weight decay, if what
makes the weights learns only after they are used. Then the derivative of an outer loss by the weights costs, beyond the
step, one gradient at θ' and one forward-mode pass: two thirds of a plain step less than with a look-ahead of its own.
"""

from collections.abc import Mapping

import torch
from torch import nn

from reweigh.hypergrad.kept_products import Products
from reweigh.hypergrad.lookahead import ExampleLosses, OuterLoss, Parameters, directional_derivatives, gradient


def own_step(
    losses: torch.Tensor,
    weights: torch.Tensor,
    parameters: Mapping[str, torch.Tensor],
    losses_at: ExampleLosses,
    outer_loss: OuterLoss,
    step_size: float | torch.Tensor,
    products: Products | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """∂ outer_loss(θ') / ∂ w_i, and what the step minimises. -> (B,), scalar.

    `losses` (B,) are those of the step's batch with their graph, which is used up, and `parameters` the tensors there
    that are trained; `losses_at` makes the same losses at other values of these. `weights` (B,) have no graph. The
    scalar has the value and, to the last bit, the gradient of Σ_i w_i ℓ_i. `products` are of the pass that made these,
    if they were kept.
    """
    loss = weights @ losses
    slopes = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    held = {name: value.detach() for name, value in parameters.items()}
    towards = gradient(outer_loss, {name: value - step_size * slopes[name] for name, value in held.items()})
    with (products or Products()).taken():
        derivatives = -step_size * directional_derivatives(losses_at, held, towards)
    return derivatives, with_gradient(loss.detach(), parameters, slopes)


def trained_by(model: nn.Module) -> Parameters:
    """The parameters that a step moves, as its graph has them."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def with_gradient(value: torch.Tensor, parameters: Mapping[str, torch.Tensor], slopes: Parameters) -> torch.Tensor:
    """A scalar of a given value whose gradient by the parameters is given, to the last bit."""
    linear = torch.stack([(one * slopes[name]).sum() for name, one in parameters.items()]).sum()
    return value + (linear - linear.detach())
