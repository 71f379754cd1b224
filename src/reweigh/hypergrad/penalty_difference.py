"""The gradient of the gradient-norm penalty as a difference of two ordinary gradients: an approximation.

With g_{l,i} = ∂L/∂h_{l,i} and u_{l,i} = r_i g_{l,i} / (B ‖g_{l,i}‖) held fixed, the gradient of (1/B) Σ_i r_i Σ_l
‖g_{l,i}‖ by the parameters is Σ_{l,i} ⟨u_{l,i}, ∂g_{l,i}/∂θ⟩: the derivative by ε of ∇_θ L when ε u_l is added to every
hidden output h_l. Here it is

    (∇_θ L(h + ε u) − ∇_θ L(h)) / ε        `aggregate` "rss": u_{l,i} = r_i g_{l,i} / (B J_i)

from one backward pass that gives ∇_θ L and every g, and one more pass there and back; no graph of a graph. Where batch
norm is y = γ h + β, ε γ u is added to y, through which the gradient by γ goes too.

In the second pass units that are on stay on, and pooling takes what it took: both are held to the first pass. A double
backward pass has it so too; a difference that counted each unit which crosses 0 would not approach it as ε falls. What
is left are the curvature of batch norm and of the loss, an error of order ε, and rounding, one of order 1/ε.

ε is such that L is to grow by a share δ (`epsilon`) of itself: ε ⟨u, g⟩ = δ |L|. So the error is about δ at any time of
training, where a share of the size of h would be too little at first and too much once examples are fitted. In float32
rounding reaches it at about 0.001; tests/hypergrad/test_penalty_difference.py has the errors.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from reweigh.hypergrad.penalty import Hidden, hooked, norms_of, over_layers, seen, wide


@dataclass
class Observed:
    """What a first pass leaves: the hidden outputs, and its kinks."""

    hidden: list[Hidden] = field(default_factory=list)
    kinks: list[torch.Tensor] = field(default_factory=list)  # results of ReLUs and places of maxima, in order


@dataclass(frozen=True)
class Moved:
    """By what a second pass moves each output y: γ · factor · direction. Factors (B, C) or (B, 1), directions as y."""

    factors: list[torch.Tensor]
    directions: list[torch.Tensor]
    kinks: list[torch.Tensor]


@contextmanager
def observed(model: nn.Module, layers: Iterable[str]) -> Iterator[Observed]:
    """The first pass of `model` inside the context. A layer that is called more than once counts each time."""
    found = Observed()
    with hooked(model, layers, lambda layer, _, output: found.hidden.append(seen(layer, output))), _Kinks(found.kinks):
        yield found


@contextmanager
def moving(model: nn.Module, layers: Iterable[str], moved: Moved) -> Iterator[None]:
    """The second pass of `model` inside the context: its outputs are moved, its kinks those of the first."""
    numbers = iter(range(len(moved.factors)))

    def move(layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        number = next(numbers)
        factor, direction = moved.factors[number], moved.directions[number]
        if isinstance(layer, _BatchNorm) and layer.weight is not None:
            factor = factor * layer.weight
        return torch.addcmul(output, wide(factor, output), direction)

    with hooked(model, layers, move), _HeldKinks(moved.kinks):
        yield


def objective(
    loss: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    first: Observed,
    strengths: torch.Tensor,
    aggregate: str,
    epsilon: float,
    again: Callable[[Moved], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar with the value of L + Σ_i s_i J_i and the gradient ∇L + (∇L(h + ε u) − ∇L)/ε, and the norms J_i.

    `loss` L is of the `first` pass, `again(moved)` that of the second pass; `strengths` s (B,) have every
    factor in them: λ r_i / B. -> scalar, (B,). The scalar's graph is that of the second pass; L's own is spent.
    """
    scales = [layer.scale for layer in first.hidden]
    sources: list[Any] = [*parameters, *(layer.output for layer in first.hidden)]
    found = torch.autograd.grad(loss, sources, allow_unused=True)
    gradients, directions = found[: len(parameters)], found[len(parameters) :]
    with torch.no_grad():
        norms = norms_of(directions, scales)
        total_norms = over_layers(norms, aggregate)
        divisors = norms if aggregate == "sum" else total_norms.expand_as(norms)
        shares = torch.where(divisors > 0, strengths / divisors, 0.0)  # u = share · g
        penalty, size = strengths @ total_norms, loss.detach().abs()
        step = torch.where((penalty > 0) & (size > 0), epsilon * size / penalty, 1.0)
        factors = [
            (step * share)[:, None] if scale is None else (step * share)[:, None] * scale
            for share, scale in zip(shares, scales, strict=True)
        ]
    second = again(Moved(factors, list(directions), first.kinks)) / step
    for gradient, parameter in zip(gradients, parameters, strict=True):
        if gradient is not None:
            second = second + (1 - 1 / step) * (gradient * parameter).sum()
    value = loss.detach() + penalty
    return second + (value - second).detach(), total_norms


# --- kinks -----------------------------------------------------------------------------------------------------------


class _Kinks(TorchFunctionMode):
    """Keeps what a pass's ReLUs give and where its maxima lie."""

    def __init__(self, kept: list[torch.Tensor]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _POOLS:
            result, places = F.max_pool2d_with_indices(*args, **(kwargs or {}))
            self.kept.append(places)
            return result
        result = function(*args, **(kwargs or {}))
        if function in _RELUS:
            self.kept.append(result.detach())
        return result


class _HeldKinks(TorchFunctionMode):
    """Has the ReLUs and maxima of a pass let through what those of another did."""

    def __init__(self, kept: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.kept = iter(kept)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _RELUS:
            return torch.ops.aten.threshold_backward(args[0], next(self.kept), 0)  # 0 where the other gave 0
        if function in _POOLS:
            places = next(self.kept)
            return args[0].flatten(2).gather(2, places.flatten(2)).view(places.shape)
        return function(*args, **(kwargs or {}))


_RELUS = (F.relu, torch.relu, torch.Tensor.relu)
_POOLS = (F.max_pool2d,)
