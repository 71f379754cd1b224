"""The gradient-norm penalty over hidden layers (HAR, Cao, Chen, Lu, Arechiga, Gaidon, Ma, ICLR 2021; authors' code).

    J_i = Σ_l ‖∂L/∂h_{l,i}‖₂,    penalty = (1/B) Σ_i r_i J_i

h_{l,i} is what hidden layer l says of example i, r_i the strength of its class. L is the MEAN loss over the batch, so
that each gradient carries 1/B: the sum of the losses gives B times the norms. With batch norm, ∂L/∂h_{l,i} also
contains what example i does to the losses of the others.

HAR penalises what batch norm gives before its affine part. From y = γ h + β follows ∂L/∂h = γ ∂L/∂y, so that an
ordinary batch norm need not expose h.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.hypergrad.second_order import SecondOrder


@dataclass(frozen=True, slots=True)
class Hidden:
    """A layer's output y (B, C, ...) in one pass, and γ (C,) where ∂L/∂h = γ ∂L/∂y is penalised, not ∂L/∂y.

    Of y it is enough to know where the gradient by it comes by: the pass may go on in place.
    """

    output: torch.Tensor | GradientEdge
    scale: torch.Tensor | None = None


@contextmanager
def hidden_outputs(model: nn.Module, layers: Iterable[str | nn.Module]) -> Iterator[list[Hidden]]:
    """The outputs of `layers` (modules of `model`, or their names), in the order in which a pass reaches them.

    The list fills while the model runs inside the context, once for each call of a layer. A batch norm comes with its
    γ, if it has one; of any other layer the output itself is penalised. Convolutions and batch norms of the pass are
    those of `SecondOrder`, as the penalty's gradient differentiates it twice. Raises AttributeError on a name that the
    model does not have.
    """
    hidden: list[Hidden] = []
    with hooked(model, layers, lambda layer, _, output: hidden.append(seen(layer, output))), SecondOrder():
        yield hidden


@contextmanager
def hooked(model: nn.Module, layers: Iterable[str | nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Call a forward hook of the layers, modules of `model` or their names, inside the context."""
    modules = [model.get_submodule(layer) if isinstance(layer, str) else layer for layer in layers]
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen(layer: nn.Module, output: torch.Tensor) -> Hidden:
    """The output that a layer has just given; of a pass without a graph, itself."""
    output_or_edge = get_gradient_edge(output) if output.requires_grad else output
    return Hidden(output_or_edge, layer.weight if isinstance(layer, _BatchNorm) else None)


def gradient_norms(loss: torch.Tensor, hidden: Sequence[Hidden], aggregate: str = "sum") -> torch.Tensor:
    """J_i of each example, with a graph for a second backward pass. loss scalar -> (B,).

    `aggregate` over the layers: "sum" of the norms (the authors' code) or "rss", the root of the sum of their squares.
    Where a norm is exactly zero its subgradient is taken as zero, so that an example that is fitted perfectly gives no
    NaN and no epsilon bends the norms of the others.
    """
    outputs: list[Any] = [layer.output for layer in hidden]
    gradients = torch.autograd.grad(loss, outputs, create_graph=True)
    return over_layers(norms_of(gradients, [layer.scale for layer in hidden]), aggregate)


def norms_of(gradients: Iterable[torch.Tensor], scales: Iterable[torch.Tensor | None]) -> torch.Tensor:
    """‖γ ∂L/∂y_i‖₂ of each layer and example, to be differentiated once. gradients (B, C, ...), γ (C,) -> (L, B)."""
    return torch.stack([_Norms.apply(*known) for known in zip(gradients, scales, strict=True)])


def over_layers(norms: torch.Tensor, aggregate: str) -> torch.Tensor:
    """J_i from the norms of each layer: their "sum", or "rss", the root of the sum of their squares. (L, B) -> (B,)."""
    if aggregate == "sum":
        return norms.sum(0)
    if aggregate == "rss":
        return torch.linalg.vector_norm(norms, dim=0)
    raise ValueError(f'aggregate is "sum" or "rss", not "{aggregate}"')


def gradient_norm_penalty(
    loss: torch.Tensor, hidden: Sequence[Hidden], strengths: torch.Tensor, aggregate: str = "sum"
) -> torch.Tensor:
    """(1/B) Σ_i r_i J_i, ready for a backward pass. loss scalar, strengths r (B,) -> scalar."""
    return (strengths * gradient_norms(loss, hidden, aggregate)).mean()


class _Norms(torch.autograd.Function):
    """‖γ g_i‖₂ of each example, from the sums s_ic of g² over the places of a channel: (B, C, ...), (C,) -> (B,).

    Along v (B,) the derivative by g is (v/n)_i γ_c² g_ic and that by γ is γ_c Σ_i (v/n)_i s_ic: one pass over the data.
    """

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
        squares = gradient.square()
        sums = squares.sum(tuple(range(2, squares.dim()))) if squares.dim() > 2 else squares
        norms = (sums.sum(1) if scale is None else sums @ scale.square()).sqrt()
        ctx.save_for_backward(gradient, scale, sums, norms)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        gradient, scale, sums, norms = ctx.saved_tensors
        share = torch.where(norms > 0, along / norms, 0.0)[:, None]
        factor = share if scale is None else share * scale.square()
        by_gradient = gradient * wide(factor, gradient)
        return by_gradient, None if scale is None else scale * (share.T @ sums)[0]


def wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B, 1) or (B, C) as factors of outputs (B, C, ...)."""
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))
