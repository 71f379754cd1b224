"""Convolution and batch norm with fast second derivatives, for passes that are differentiated twice.

    with SecondOrder():
        loss = f(model(images))           # as ever; a double backward pass through it takes less than half the time

PyTorch's own double backward of a convolution turns a weight gradient into a convolution with kernels as large as the
image, and that of batch norm is some thirty elementwise operations and sums; both are slowest in channels-last order.
Here

- a convolution and its two gradients are three bilinear maps, each the derivative of the two others, so that a second
  backward pass needs no other kernels than the first;
- batch norm's second derivative is written out for the kernels of its first one and four passes over the data
  (`_NormGradient`).

Values and first derivatives are PyTorch's, by the same kernels (but a convolution's bias is added after it). What is
not covered (running statistics, autocast, no affine part, a pass without a graph) is left to PyTorch. Passes of dual
numbers (forward mode) are refused.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Geometry = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


class SecondOrder(TorchFunctionMode):
    """A context: convolutions and batch norms of the passes within can be differentiated twice at little cost."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
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
    towards_weight = _TowardsWeight.apply(weight, (inputs,), geometry)
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
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        by_inputs = _InputGradient.apply(gradient, weight, inputs, ctx.geometry) if ctx.needs_input_grad[0] else None
        return by_inputs, None, gradient, None


class _TowardsWeight(torch.autograd.Function):
    """A zero in the shape of the outputs, to which their gradient goes on its way to the weight.

    That way is a node of its own so that a backward pass which asks for inputs alone leaves it out. The inputs come
    wrapped for the same reason: the node has no edge towards them, but its gradient can be differentiated by them.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, wrapped: tuple[torch.Tensor], geometry: Geometry) -> torch.Tensor:
        (inputs,) = wrapped
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
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        return _WeightGradient.apply(gradient, inputs, weight, ctx.geometry), None, None


class _InputGradient(torch.autograd.Function):
    """The gradient by the inputs, bilinear in that by the outputs and the weight. Of `like` only the shape is read."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, weight: torch.Tensor, like: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _gradients(gradient, like, weight, geometry, by_inputs=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        by_gradient = _convolved(along, weight, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_weight = _gradients(gradient, along, weight, ctx.geometry, False) if ctx.needs_input_grad[1] else None
        return by_gradient, by_weight, None, None


class _WeightGradient(torch.autograd.Function):
    """The gradient by the weight, bilinear in that by the outputs and the inputs. Of `like` only the shape is read."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, inputs: torch.Tensor, like: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(gradient, inputs)
        ctx.geometry = geometry
        return _gradients(gradient, inputs, like, geometry, by_inputs=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
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
    def backward(ctx: Any, gradient: torch.Tensor | None, *_: None) -> tuple[torch.Tensor | None, ...]:
        if gradient is None:
            return (None,) * 7
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
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = torch.ops.aten.native_batch_norm_backward(
            gradient, inputs, weight, None, None, mean, scale, True, eps, [True, True, True]
        )
        ctx.save_for_backward(gradient, inputs, weight, mean, scale, *found[1:])
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, along: torch.Tensor | None, along_weight: torch.Tensor | None, along_bias: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        gradient, inputs, weight, mean, scale, gradient_centred, gradient_sum = ctx.saved_tensors
        count = inputs.numel() // len(weight)
        zero = torch.zeros_like(scale)
        total, centred, product = zero, zero, zero  # Σ u, Σ u x̂ = N a, Σ u g
        if along is not None:
            total, centred = _channel_sums(along, inputs, mean, scale)
            product = _channel_sums(along, gradient, zero, torch.ones_like(scale))[1]
        inner = product - (total * gradient_sum + centred * gradient_centred) / count  # S
        curve = weight * scale.square() / count
        p = -curve * gradient_centred
        q = -curve * centred if along_weight is None else along_weight * scale - curve * centred

        of_x = -(curve * inner + (p * centred + q * gradient_centred) / count) * scale
        constant = -(p * total + q * gradient_sum) / count - of_x * mean
        by_inputs = _combined(constant, (gradient, q), (inputs, of_x), (along, p))

        gain = weight * scale
        of_x = (-gain * centred / count if along_weight is None else along_weight - gain * centred / count) * scale
        constant = -gain * total / count - of_x * mean
        constant = constant if along_bias is None else constant + along_bias
        by_gradient = _combined(constant, (inputs, of_x), (along, gain))
        return by_gradient, by_inputs, (None if along is None else scale * inner), None, None, None


def _channel_sums(
    first: torch.Tensor, second: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ f and Σ f (s − mean) scale of each channel, by the kernel that gives batch norm's gradients by β and γ."""
    _, product, total = torch.ops.aten.native_batch_norm_backward(
        first, second, None, None, None, mean, scale, True, 0.0, [False, True, True]
    )
    return total, product


def _combined(constant: torch.Tensor, *terms: tuple[torch.Tensor | None, torch.Tensor]) -> torch.Tensor:
    """constant + Σ tensor · coefficient, with one coefficient a channel; a tensor that is None adds nothing."""
    (first, coefficient), *others = terms
    total = torch.addcmul(constant[:, None, None], first, coefficient[:, None, None])  # type: ignore[arg-type]
    for tensor, coefficient in others:
        if tensor is not None:
            total.addcmul_(tensor, coefficient[:, None, None])
    return total


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    F.batch_norm: _batch_norm,
    torch.native_batch_norm: _native_batch_norm,
}
