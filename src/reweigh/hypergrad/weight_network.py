"""Weights that a network reads off the losses of the very step that they weigh (Meta-Weight-Net, NeurIPS 2019).

The same derivative as `lookahead.weight_hypergradient`, one pass cheaper: the losses that the network sees, detached,
are those that the look-ahead step is then taken along. Where they are those of the step's own pass, that is a second
pass saved.
"""

from collections.abc import Callable, Sequence

import torch

from reweigh.hypergrad.kept_products import Products
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
    step_size: float | torch.Tensor,
    own: tuple[torch.Tensor, Sequence[torch.Tensor]] | None = None,
    products: Products | None = None,
) -> Parameters:
    """d outer_loss(θ'(φ)) / dφ, θ'(φ) = θ − η Σ_i g_φ(ℓ_i) ∇ℓ_i(θ), the ℓ_i that g sees being constants. -> as φ.

    `own` are the losses (B,) of a pass that was made anyway, with its graph, which stays, and the tensors there that
    stand for `parameters`, in their order; without it the pass is made here. `products` are of that pass, if they were
    kept.
    """
    phi = {name: value.detach().requires_grad_() for name, value in weight_parameters.items()}
    if own is None:
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            own = losses(leaves), list(leaves.values())
    found, theta = own
    with torch.enable_grad():
        weights = weights_of(phi, found.detach())
        inner = torch.autograd.grad(weights.detach() @ found, list(theta), retain_graph=True)
    ahead = {
        name: value.detach() - step_size * step for (name, value), step in zip(parameters.items(), inner, strict=True)
    }
    outer_gradient = gradient(outer_loss, ahead)
    with (products or Products()).taken():
        derivatives = -step_size * directional_derivatives(losses, parameters, outer_gradient)
    through = torch.autograd.grad(weights, list(phi.values()), derivatives, allow_unused=True, materialize_grads=True)
    return dict(zip(phi, through, strict=True))
