"""Convolution and batch norm whose second derivatives are made of fast kernels, for passes that are differentiated twice.

    with second_order():
        loss = f(model(images))           # as ever; a later double backward pass takes about half the time

PyTorch's own double backward of a convolution turns a weight gradient into a convolution with kernels as large as the
image, and that of batch norm is some thirty elementwise operations and sums, slow above all in channels-last order. Here

- a convolution and its two gradients are three bilinear maps, each of which is the derivative of the two others, so
  that derivatives of any order are these three kernels;
- batch norm's second derivative is written out in fused kernels and three passes over the data (`_NormGradient`).

Values and first derivatives are those of PyTorch to the bit, which computes them by the same kernels. What is not
covered (running statistics, autocast, other dimensions, passes without a graph) is left to PyTorch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Geometry = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


class second_order(TorchFunctionMode):  # noqa: N801 (a context, like torch's own)
    """A context: convolutions and batch norms of the passes within can be differentiated twice at little cost."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        replacement = _REPLACEMENTS.get(function)
        if replacement is not None and torch.is_grad_enabled():
            outputs = replacement(*args, **(kwargs or {}))
            if outputs is not None:
                return outputs
        return function(*args, **(kwargs or {}))


# --- convolution -----------------------------------------------------------------------------------------------------


def _conv2d(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor | None:
    """`torch.conv2d`; None where that has to do it."""
    if isinstance(padding, str) or inputs.dim() != 4 or torch.is_autocast_enabled(inputs.device.type):
        return None
    geometry = (_two(stride), _two(padding), _two(dilation), groups)
    towards_weight = _TowardsWeight.apply(weight, inputs, geometry)
    outputs = _Convolution.apply(inputs, weight, towards_weight, geometry)
    return outputs if bias is None else outputs + bias[:, None, None]


def _two(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def _convolved(inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    stride, padding, dilation, groups = geometry
    return torch.conv2d(inputs, weight, None, stride, padding, dilation, groups)


def _gradients(
    gradient: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, geometry: Geometry, by_inputs: bool
) -> torch.Tensor:
    """The gradient by the inputs, or that by the weight, of whichever only the shape is read."""
    stride, padding, dilation, groups = geometry
    mask = [by_inputs, not by_inputs, False]
    both = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
    )
    return both[0 if by_inputs else 1]


class _Convolution(torch.autograd.Function):
    """inputs, weight -> outputs. Of its two gradients it gives that by the inputs; `_TowardsWeight` gives the other."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, towards_weight: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = geometry
        return _convolved(inputs, weight, geometry)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        inputs, weight = ctx.saved_tensors
        by_inputs = _InputGradient.apply(gradient, weight, inputs, ctx.geometry) if ctx.needs_input_grad[0] else None
        return by_inputs, None, gradient, None


class _TowardsWeight(torch.autograd.Function):
    """A zero in the shape of the outputs, to which their gradient goes on its way to the weight.

    That way is a node of its own so that a backward pass which asks for inputs alone leaves it out.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, inputs: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = geometry
        sizes = [
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                inputs.shape[2:], weight.shape[2:], *geometry[:3], strict=True
            )
        ]
        return weight.new_zeros(()).expand(len(inputs), len(weight), *sizes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        inputs, weight = ctx.saved_tensors
        return _WeightGradient.apply(gradient, inputs, weight, ctx.geometry), None, None


class _InputGradient(torch.autograd.Function):
    """The gradient by the inputs: bilinear in the outputs' gradient and the weight. Of `like` only the shape is read."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, weight: torch.Tensor, like: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _gradients(gradient, like, weight, geometry, by_inputs=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        gradient, weight = ctx.saved_tensors
        by_gradient = _convolved(along, weight, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_weight = _gradients(gradient, along, weight, ctx.geometry, False) if ctx.needs_input_grad[1] else None
        return by_gradient, by_weight, None, None


class _WeightGradient(torch.autograd.Function):
    """The gradient by the weight: bilinear in the outputs' gradient and the inputs. Of `like` only the shape is read."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, inputs: torch.Tensor, like: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(gradient, inputs)
        ctx.geometry = geometry
        return _gradients(gradient, inputs, like, geometry, by_inputs=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        gradient, inputs = ctx.saved_tensors
        by_gradient = _convolved(inputs, along, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_inputs = _gradients(gradient, inputs, along, ctx.geometry, True) if ctx.needs_input_grad[1] else None
        return by_gradient, by_inputs, None, None


# --- batch norm ------------------------------------------------------------------------------------------------------


def _batch_norm(
    inputs: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor | None:
    """`torch.nn.functional.batch_norm`; None where that has to do it."""
    outputs = _native_batch_norm(inputs, weight, bias, running_mean, running_var, training, momentum, eps)
    return None if outputs is None else outputs[0]


def _native_batch_norm(
    inputs: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """`torch.native_batch_norm`; None where that has to do it."""
    if not training or inputs.dim() != 4 or weight is None or bias is None or weight.dtype != inputs.dtype:
        return None
    if torch.is_autocast_enabled(inputs.device.type):
        return None
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _Norm.apply(
        inputs, weight, bias, running_mean, running_var, momentum, eps
    )
    return outputs


class _Norm(torch.autograd.Function):
    """Batch norm by the statistics of the batch: outputs, mean, and scale r = 1/√(σ² + ε)."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        momentum: float,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = torch.native_batch_norm(inputs, weight, bias, running_mean, running_var, True, momentum, eps)
        outputs, mean, scale = found
        ctx.save_for_backward(inputs, weight, mean, scale)
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return outputs, mean, scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: None) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        found = _NormGradient.apply(gradient, *ctx.saved_tensors, ctx.eps)
        return *found, None, None, None, None


class _NormGradient(torch.autograd.Function):
    """The gradients of batch norm by inputs, γ and β, and their derivative.

    With x̂ = r (x − μ), N values a channel and P v = v − mean(v) − x̂ mean(x̂ v), the gradients for the outputs' g are

        γ r P g,    Σ g x̂,    Σ g.

    Along u (of the first), G (of the second) and B (of the third), with a = mean(x̂ u), b = mean(x̂ g) and
    S = ⟨u, P g⟩ = Σ u g − N mean(u) mean(g) − N a b, their derivatives are

        by g:   γ r P u + G x̂ + B
        by γ:   r S
        by x:   p P u + q P g − γ r² (S/N) x̂,     p = −γ r² b,     q = G r − γ r² a,

    since ∂r/∂x = −r² x̂/N and (∂x̂/∂x)ᵀ v = r P v. All is linear in u, g and x with one coefficient a channel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gradient: torch.Tensor,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        mean: torch.Tensor,
        scale: torch.Tensor,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = _norm_backward(gradient, inputs, weight, mean, scale, eps)
        ctx.save_for_backward(gradient, inputs, weight, mean, scale, *found[1:])
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return found

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, along: torch.Tensor | None, along_weight: torch.Tensor | None, along_bias: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        gradient, inputs, weight, mean, scale, gradient_centred, gradient_sum = ctx.saved_tensors
        count = inputs.numel() // len(weight)
        zero = torch.zeros_like(scale)
        gain = zero if along_weight is None else along_weight  # G
        by_gradient, centred, total, product = None, zero, zero, zero
        if along is not None:
            by_gradient, centred, total = _norm_backward(along, inputs, weight, mean, scale, ctx.eps)
            product = _channel_dot(along, gradient)
        slope, both = gain * scale, (zero if along_bias is None else along_bias)  # of x, and the constant
        if along_weight is not None or along_bias is not None:
            terms = [(inputs, slope)]
            by_gradient = _combined(both - slope * mean, terms, onto=by_gradient)
        inner = product - (total * gradient_sum + centred * gradient_centred) / count  # S
        curve = weight * scale.square() / count
        p, q = -curve * gradient_centred, slope - curve * centred
        k = -(curve * inner + (p * centred + q * gradient_centred) / count) * scale
        constant = -(p * total + q * gradient_sum) / count - k * mean
        terms = [(gradient, q), (inputs, k)] + ([(along, p)] if along is not None else [])
        by_inputs = _combined(constant, terms)
        return by_gradient, by_inputs, (scale * inner if along is not None else None), None, None, None


def _norm_backward(
    gradient: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """γ r P `gradient`, Σ `gradient` x̂ and Σ `gradient`, by the kernel of batch norm's backward pass."""
    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, inputs, weight, None, None, mean, scale, True, eps, [True, True, True]
    )
    return found


def _channel_dot(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Σ `first` `second` over all but the channel: batch norm's gradient by γ where x̂ is `second`. -> (C,)."""
    zero, one = second.new_zeros(second.shape[1]), second.new_ones(second.shape[1])
    found: torch.Tensor = torch.ops.aten.native_batch_norm_backward(
        first, second, one, None, None, zero, one, True, 0.0, [False, True, False]
    )[1]
    return found


def _combined(
    constant: torch.Tensor, terms: list[tuple[torch.Tensor, torch.Tensor]], onto: torch.Tensor | None = None
) -> torch.Tensor:
    """constant + Σ coefficient · tensor, (+ `onto`, in place); coefficients and constant are one value a channel."""
    if onto is None:
        tensor, coefficient = terms.pop(0)
        onto = torch.addcmul(constant[:, None, None], tensor, coefficient[:, None, None])
    else:
        onto.add_(constant[:, None, None])
    for tensor, coefficient in terms:
        onto.addcmul_(tensor, coefficient[:, None, None])
    return onto


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    F.batch_norm: _batch_norm,
    torch.native_batch_norm: _native_batch_norm,
}
