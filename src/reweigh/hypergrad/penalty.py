"""The gradient-norm penalty over hidden layers (HAR, Cao, Chen, Lu, Arechiga, Gaidon, Ma, ICLR 2021; authors' code).

    J_i = Σ_l ‖∂L/∂h_{l,i}‖₂,    penalty = (1/B) Σ_i r_i J_i

h_{l,i} is what hidden layer l says of example i, r_i the strength of its class. L is the MEAN loss over the batch, so
that each gradient carries 1/B: the sum of the losses gives B times the norms. With batch norm, ∂L/∂h_{l,i} also
contains what example i does to the losses of the others.

HAR penalises what batch norm gives before its affine part. From y = γ h + β follows ∂L/∂h = γ ∂L/∂y, so that an
ordinary batch norm need not expose h.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reweigh.hypergrad.second_order import SecondOrder


@dataclass(frozen=True, slots=True)
class Hidden:
    """The output y (B, C, ...) of a layer in one pass, and γ (C,) where ∂L/∂h = γ ∂L/∂y is penalised, not ∂L/∂y."""

    output: torch.Tensor
    scale: torch.Tensor | None = None


@contextmanager
def hidden_outputs(model: nn.Module, layers: Iterable[str | nn.Module]) -> Iterator[list[Hidden]]:
    """The outputs of `layers` (modules of `model`, or their names), in the order in which a pass reaches them.

    The list fills while the model runs inside the context, once for each call of a layer. A batch norm comes with its
    γ, if it has one; of any other layer the output itself is penalised. The pass goes on with a copy of each output, so
    that it may work in place. Its convolutions and batch norms are those of `SecondOrder`, as the penalty's gradient
    differentiates it twice. Raises AttributeError on a name that the model does not have.
    """
    hidden: list[Hidden] = []

    def keep(layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        hidden.append(Hidden(output, layer.weight if isinstance(layer, _BatchNorm) else None))
        return output.clone()

    modules = [model.get_submodule(layer) if isinstance(layer, str) else layer for layer in layers]
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        with SecondOrder():
            yield hidden
    finally:
        for handle in handles:
            handle.remove()


def gradient_norms(loss: torch.Tensor, hidden: Sequence[Hidden], aggregate: str = "sum") -> torch.Tensor:
    """J_i of each example, with a graph for a second backward pass. loss scalar -> (B,).

    `aggregate` over the layers: "sum" of the norms (the authors' code) or "rss", the root of the sum of their squares.
    Where a norm is exactly zero its subgradient is taken as zero (torch's `vector_norm` does), so that an example that
    is fitted perfectly gives no NaN and no epsilon bends the norms of the others.
    """
    gradients = torch.autograd.grad(loss, [layer.output for layer in hidden], create_graph=True)
    norms = torch.stack([_norms(gradient, layer.scale) for gradient, layer in zip(gradients, hidden, strict=True)])
    return over_layers(norms, aggregate)


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


def _norms(gradient: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """‖γ ∂L/∂y_i‖₂ of each example. gradient (B, C, ...), scale (C,) -> (B,)."""
    values = by_channel(gradient)
    return torch.linalg.vector_norm(values if scale is None else values * scale.unsqueeze(-1), dim=(1, 2))


def by_channel(values: torch.Tensor) -> torch.Tensor:
    """Outputs or gradients (B, C, ...) with the places of a channel in one dimension. -> (B, C, places)."""
    return values.flatten(2) if values.dim() > 2 else values.unsqueeze(-1)
