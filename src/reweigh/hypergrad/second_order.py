"""Convolution and batch norm with fast second derivatives, for passes that are differentiated twice.

    with SecondOrder():
        loss = f(model(images))           # as ever; a double backward pass through it is about twice as fast

PyTorch's own double backward of a convolution turns a weight gradient into a convolution with kernels as large as the
image, and that of batch norm is dozens of elementwise operations and sums; both are slowest in channels-last order.
Here

- a convolution and its two gradients are three bilinear maps, each the derivative of the two others, so that a second
  backward pass needs no other kernels than the first;
- batch norm's second derivative is written out for the kernels of its first one and four passes over the data
  (`hypergrad/batch_norm.py`).

Values and first derivatives are PyTorch's, by the same kernels (but a convolution's bias is added after it). What is
not covered (running statistics, autocast, no affine part, a pass without a graph) is left to PyTorch. Passes of dual
numbers (forward mode) are refused.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from reweigh.hypergrad import batch_norm

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
        outputs = None
        if function in _REPLACEMENTS and torch.is_grad_enabled() and not _casts():
            outputs = _REPLACEMENTS[function](*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if outputs is None else outputs


def _casts() -> bool:
    """Whether this is an autocast region."""
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


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
    if isinstance(padding, str) or inputs.dim() != 4:
        return None
    geometry = (two(stride), two(padding), two(dilation), groups)
    towards_weight = _TowardsWeight.apply(weight, (inputs,), geometry)
    outputs = _Convolution.apply(inputs, weight, towards_weight, geometry)
    return outputs if bias is None else outputs + bias[:, None, None]


def two(value: Any) -> list[int]:
    """What is said once for both directions, or for each."""
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def convolved(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry
) -> torch.Tensor:
    """`torch.conv2d` of a geometry."""
    stride, padding, dilation, groups = geometry
    return torch.conv2d(inputs, weight, bias, stride, padding, dilation, groups)


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
        return convolved(inputs, weight, None, geometry)

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
        by_gradient = convolved(along, weight, None, ctx.geometry) if ctx.needs_input_grad[0] else None
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
        by_gradient = convolved(inputs, along, None, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_inputs = _gradients(gradient, inputs, along, ctx.geometry, True) if ctx.needs_input_grad[1] else None
        return by_gradient, by_inputs, None, None


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {torch.conv2d: _conv2d, **batch_norm.REPLACEMENTS}
