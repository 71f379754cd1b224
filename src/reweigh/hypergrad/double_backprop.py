"""The textbook way to the same hypergradients: keep the graph of every step and differentiate through it.

Slower and hungrier than `lookahead` and `implicit`, and what they are tested and timed against. No
method uses it. Arguments and results are those of the functions of the same name there.
"""

from collections.abc import Sequence

import torch

from reweigh.hypergrad.lookahead import ExampleLosses, JointLoss, OuterLoss, Parameters, WeightsOf


def example_hypergradient(
    losses: ExampleLosses,
    outer_loss: OuterLoss,
    parameters: Parameters,
    weights: torch.Tensor,
    step_size: float,
    decay: float = 0.0,
) -> torch.Tensor:
    """∂ outer_loss(θ') / ∂ w_i by double backpropagation. -> (B,)."""
    return weight_hypergradient(
        losses=losses,
        outer_loss=lambda at, _: outer_loss(at),
        parameters=parameters,
        weights_of=lambda named: named["weights"],
        weight_parameters={"weights": weights},
        step_size=step_size,
        decay=decay,
    )["weights"]


def weight_hypergradient(
    losses: ExampleLosses,
    outer_loss: JointLoss,
    parameters: Parameters,
    weights_of: WeightsOf,
    weight_parameters: Parameters,
    step_size: float,
    decay: float = 0.0,
) -> Parameters:
    """d outer_loss(θ'(φ), φ) / dφ by double backpropagation. -> tensors as in φ."""
    leaves, weight_leaves = _leaves(parameters), _leaves(weight_parameters)
    inner = weights_of(weight_leaves) @ losses(leaves) + decay / 2 * _square(leaves)
    gradients = torch.autograd.grad(inner, list(leaves.values()), create_graph=True)
    ahead = {
        name: value.detach() - step_size * step for (name, value), step in zip(leaves.items(), gradients, strict=True)
    }
    outer = outer_loss(ahead, weight_leaves) + decay / 2 * _square(ahead)
    return dict(zip(weight_leaves, torch.autograd.grad(outer, list(weight_leaves.values())), strict=True))


def implicit_hypergradient(
    training_losses: Sequence[JointLoss],
    validation_losses: Sequence[JointLoss],
    parameters: Parameters,
    design: Parameters,
    step: float,
    terms: int,
) -> Parameters:
    """The truncated Neumann hypergradient (sign −1) by unrolling terms + 1 gradient steps. -> tensors as in α.

    A step θ_{k+1} = θ_k − ε (g_T(θ_k, α) − g_T(θ, α̂)), the last term held constant, stays where it is as if θ were the
    inner optimum, so that every Hessian is taken at θ. Its derivative by α is then the series term by term.
    """
    leaves, at = _leaves(design), _leaves(parameters)
    constant: tuple[torch.Tensor, ...] | None = None
    for _ in range(terms + 1):
        training = torch.stack([loss(at, leaves) for loss in training_losses]).mean()
        gradients = torch.autograd.grad(training, list(at.values()), create_graph=True)
        constant = constant or tuple(value.detach() for value in gradients)
        moves = [value - still for value, still in zip(gradients, constant, strict=True)]
        at = {name: value - step * move for (name, value), move in zip(at.items(), moves, strict=True)}
    validation = torch.stack([loss(at, leaves) for loss in validation_losses]).mean()
    return dict(zip(leaves, torch.autograd.grad(validation, list(leaves.values())), strict=True))


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def _square(parameters: Parameters) -> torch.Tensor:
    return torch.stack([value.square().sum() for value in parameters.values()]).sum()
