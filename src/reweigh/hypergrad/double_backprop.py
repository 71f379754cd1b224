"""The textbook way to the same hypergradient: keep the graph of the look-ahead step and differentiate through it.

Slower and hungrier than `lookahead`, and the yardstick that it is tested and timed against. No method uses it.
"""

import torch

from reweigh.hypergrad.lookahead import ExampleLosses, OuterLoss, Parameters


def example_hypergradient(
    losses: ExampleLosses,
    outer_loss: OuterLoss,
    parameters: Parameters,
    weights: torch.Tensor,
    step_size: float,
    decay: float = 0.0,
) -> torch.Tensor:
    """∂ outer_loss(θ') / ∂ w_i by double backpropagation; arguments and result as in `lookahead`. -> (B,)."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    weights = weights.detach().requires_grad_()
    inner = weights @ losses(leaves) + decay / 2 * sum(value.square().sum() for value in leaves.values())
    gradients = torch.autograd.grad(inner, list(leaves.values()), create_graph=True)
    ahead = {
        name: value.detach() - step_size * step for (name, value), step in zip(leaves.items(), gradients, strict=True)
    }
    outer = outer_loss(ahead) + decay / 2 * sum(value.square().sum() for value in ahead.values())
    return torch.autograd.grad(outer, weights)[0]
