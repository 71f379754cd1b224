"""Hypergradients of one look-ahead step, exactly and without a second graph.

A look-ahead step is θ' = θ − η (Σ_i w_i ∇ℓ_i(θ) + λ θ). The derivative of an outer loss L(θ') + λ/2 ‖θ'‖² with respect
to the weight of example i is

    ∂L/∂w_i = −η ⟨u, ∇ℓ_i(θ)⟩,    u = ∇L(θ') + λ θ',

so one ordinary gradient at θ' gives u, and ONE forward-mode pass of the vector of example losses along u gives all
B derivatives at once (TDR, KDD 2020, eq. 9 is this sum taken by class). Parameters are dictionaries name -> tensor.

Weights may be free (`example_hypergradient`), shared by a class or group (`by_group` of the former), or produced by
other parameters φ (`weight_hypergradient`): a weight network (Meta-Weight-Net, LRWOpt) or soft split memberships.

Nothing here waits for a value of a tensor, so that all of it can be captured as a CUDA graph. The mode of batch norm
and the masks of dropout are those of the functions that are passed in; equal arguments must give equal values.
"""

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

Parameters = dict[str, torch.Tensor]
ExampleLosses = Callable[[Parameters], torch.Tensor]  # θ -> (B,)
OuterLoss = Callable[[Parameters], torch.Tensor]  # θ -> scalar
WeightsOf = Callable[[Parameters], torch.Tensor]  # φ -> (B,)
JointLoss = Callable[[Parameters, Parameters], torch.Tensor]  # θ, φ -> scalar


def gradient(loss: OuterLoss, parameters: Parameters) -> Parameters:
    """∇ loss(θ): name -> tensor of the parameter's shape. Leaves no graph and no `.grad` behind."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(leaves), list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))


def partial_gradients(loss: JointLoss, first: Parameters, second: Parameters) -> tuple[Parameters, Parameters]:
    """∇_θ loss(θ, φ) and ∇_φ loss(θ, φ) by one backward pass; zero where the loss does not depend on a tensor."""
    leaves = [{name: value.detach().requires_grad_() for name, value in side.items()} for side in (first, second)]
    with torch.enable_grad():
        inputs = [*leaves[0].values(), *leaves[1].values()]
        gradients = torch.autograd.grad(loss(*leaves), inputs, allow_unused=True, materialize_grads=True)
    return (
        dict(zip(first, gradients[: len(first)], strict=True)),
        dict(zip(second, gradients[len(first) :], strict=True)),
    )


def directional_derivatives(losses: ExampleLosses, parameters: Parameters, direction: Parameters) -> torch.Tensor:
    """⟨direction, ∇ℓ_i(θ)⟩ for every example i of `losses`, in one forward-mode pass. -> (B,)."""
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value.detach(), direction[name]) for name, value in parameters.items()}
        tangent = forward_ad.unpack_dual(losses(duals)).tangent
    if tangent is None:
        raise ValueError("the example losses do not depend on the parameters")
    return tangent


def look_ahead(
    losses: ExampleLosses,
    parameters: Parameters,
    weights: torch.Tensor,
    step_size: float | torch.Tensor,
    decay: float = 0.0,
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
    step_size: float | torch.Tensor,
    decay: float = 0.0,
) -> torch.Tensor:
    """∂ outer_loss(θ') / ∂ w_i at `weights` (B,), θ' being the look-ahead step with them. -> (B,).

    `weights=None` stands for all zero, where θ' = θ: the case of example reweighting (Ren et al. 2018), and cheaper.
    `decay` is the weight decay λ of both losses (TDR's public code adds it to the outer loss too).
    """
    at = parameters if weights is None else look_ahead(losses, parameters, weights, step_size, decay)
    return _by_weight(losses, parameters, at, gradient(outer_loss, at), step_size, decay)


def weight_hypergradient(
    losses: ExampleLosses,
    outer_loss: JointLoss,
    parameters: Parameters,
    weights_of: WeightsOf,
    weight_parameters: Parameters,
    step_size: float | torch.Tensor,
    decay: float = 0.0,
) -> Parameters:
    """d outer_loss(θ'(φ), φ) / dφ, θ'(φ) being the look-ahead step with the weights that φ gives. -> tensors as in φ.

    The total derivative is that by φ where the outer loss names it, with θ' held, plus Σ_i d_i ∂w_i/∂φ, where d are the
    derivatives by the weights (`example_hypergradient`) and w = `weights_of`(φ) (B,). It is exact, and costs one pass
    there and back through `weights_of` beyond that. Both uses (sheet of LRWOpt, CVPR 2024):

    - a weight network, w_i = g_φ(x_i) or g_φ(ℓ_i) with ℓ_i detached: the outer loss does not name φ;
    - soft split memberships Θ_i: weights Θ_i w_i, and an outer loss such as Σ_j (1 − Θ_j) ℓ_j / Σ_j (1 − Θ_j). A
      splitter that seeks the hardest split ascends: the caller turns the sign.

    A tensor of φ that neither uses gets zero; weights that depend on none of φ are a RuntimeError. `decay` is as in
    `example_hypergradient`.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in weight_parameters.items()}
    with torch.enable_grad():
        weights = weights_of(leaves)
    at = look_ahead(losses, parameters, weights.detach(), step_size, decay)
    outer_gradient, direct = partial_gradients(outer_loss, at, weight_parameters)
    derivatives = _by_weight(losses, parameters, at, outer_gradient, step_size, decay)
    through = torch.autograd.grad(
        weights, list(leaves.values()), derivatives, allow_unused=True, materialize_grads=True
    )
    return {name: direct[name] + value for name, value in zip(leaves, through, strict=True)}


def _by_weight(
    losses: ExampleLosses,
    parameters: Parameters,
    at: Parameters,
    outer_gradient: Parameters,
    step_size: float | torch.Tensor,
    decay: float,
) -> torch.Tensor:
    """−η ⟨∇L(θ') + λ θ', ∇ℓ_i(θ)⟩ with θ' = `at` and ∇L(θ') = `outer_gradient`. -> (B,)."""
    if decay:
        outer_gradient = {name: value + decay * at[name].detach() for name, value in outer_gradient.items()}
    return -step_size * directional_derivatives(losses, parameters, outer_gradient)


def by_group(derivatives: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
    """Example derivatives (B,) summed by group (B,): the derivative by a weight that a group shares. -> (count,)."""
    # A product with the one-hot matrix, not index_add_, which sums in no fixed order on a GPU; and not one_hot(), which
    # waits for the largest group.
    belongs = groups[:, None] == torch.arange(count, device=groups.device)
    return belongs.to(derivatives.dtype).T @ derivatives
