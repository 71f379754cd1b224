"""The derivative of a forward pass along a direction of its parameters, for a pass that is made anyway.

    with along(model, direction) as passes:
        loss = f(model(inputs))               # as ever, and it can be differentiated as ever
    outputs, slopes = passes[0]               # slopes = d outputs / dε at θ + ε direction

`lookahead.directional_derivatives` makes a pass of its own. Where a step needs the derivative at its own parameters, on
its own batch, in its own mode, the values are those of its own pass: that is one forward pass in nine of a step of
example reweighting.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from reweigh.hypergrad.batch_norm import REPLACEMENTS
from reweigh.hypergrad.lookahead import Parameters
from reweigh.hypergrad.second_order import Geometry, convolved, two

Pass = tuple[torch.Tensor, torch.Tensor]  # outputs and their derivatives, both without a graph


@contextmanager
def along(model: nn.Module, direction: Parameters) -> Iterator[list[Pass]]:
    """Passes of `model` within give outputs as ever, and one more `Pass` in the list: a derivative along `direction`.

    `direction` has a tensor for each parameter of the model. Values, graph, running statistics and modes are those of
    an ordinary pass; the derivatives have no graph. Raises ValueError if the outputs do not depend on the parameters.
    """
    passes: list[Pass] = []

    def keep(_model: nn.Module, _inputs: object, outputs: torch.Tensor) -> torch.Tensor:
        plain, slopes = forward_ad.unpack_dual(outputs)
        if slopes is None:
            raise ValueError("the outputs do not depend on the parameters")
        passes.append((plain.detach(), slopes.detach()))
        return plain

    with ExitStack() as stack:
        stack.callback(model.register_forward_hook(keep).remove)
        stack.enter_context(forward_ad.dual_level())
        stack.enter_context(_ShortTangents())
        for prefix, module in model.named_modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    stack.callback(module._parameters.__setitem__, name, parameter)
                    slope = direction[f"{prefix}.{name}" if prefix else name]
                    module._parameters[name] = forward_ad.make_dual(parameter, slope)
        yield passes


class _ShortTangents(TorchFunctionMode):
    """Convolutions, batch norms and ReLUs of the passes within carry tangents that need no graph and little memory.

    PyTorch's own keep the tangent of whatever a backward pass needs until the end, and the graph of each tangent.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        replacement = _REPLACEMENTS.get(function)
        outputs = None if replacement is None else replacement(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if outputs is None else outputs


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
    if torch.is_autocast_enabled(device := inputs.device.type):
        dtype = torch.get_autocast_dtype(device)
        inputs, weight, bias = inputs.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    outputs: torch.Tensor = _Convolution.apply(inputs, weight, bias, (two(stride), two(padding), two(dilation), groups))
    return outputs


class _Convolution(torch.autograd.Function):
    """PyTorch's convolution, its tangent and its gradients, by the same kernels in the same order."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry
    ) -> torch.Tensor:
        saved = inputs.detach(), weight.detach()
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)
        ctx.geometry = geometry
        return convolved(inputs, weight, bias, geometry)

    @staticmethod
    def jvp(
        ctx: Any,
        along_inputs: torch.Tensor | None,
        along_weight: torch.Tensor | None,
        along_bias: torch.Tensor | None,
        _: None,
    ) -> torch.Tensor:
        inputs, weight = ctx.saved_tensors
        with torch.no_grad():
            along_weight = torch.zeros_like(weight) if along_weight is None else along_weight
            by_parameters = convolved(inputs, along_weight, along_bias, ctx.geometry)
            if along_inputs is None:
                return by_parameters
            return convolved(along_inputs, weight, None, ctx.geometry).add_(by_parameters)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        sizes, mask = [len(weight)], list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.convolution_backward(
            gradient, inputs, weight, sizes, stride, padding, dilation, False, [0, 0], groups, mask
        )
        return *found, None


class _Relu(torch.autograd.Function):
    """PyTorch's ReLU, its tangent and its gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, inplace: bool) -> torch.Tensor:
        outputs = inputs.relu_() if inplace else inputs.relu()
        if inplace:
            ctx.mark_dirty(inputs)
        ctx.inplace = inplace
        ctx.save_for_backward(outputs.detach())
        ctx.save_for_forward(outputs.detach())
        return outputs

    @staticmethod
    def jvp(ctx: Any, along_inputs: torch.Tensor, _: None) -> torch.Tensor:
        (outputs,) = ctx.saved_tensors
        with torch.no_grad():
            slopes: torch.Tensor = torch.ops.aten.threshold_backward(along_inputs, outputs, 0)
            return along_inputs.copy_(slopes) if ctx.inplace else slopes

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (outputs,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, outputs, 0), None


def _relu(inputs: torch.Tensor, inplace: bool = False) -> torch.Tensor | None:
    """`torch.nn.functional.relu`; None where that has to do it."""
    if forward_ad.unpack_dual(inputs).tangent is None:
        return None
    outputs: torch.Tensor = _Relu.apply(inputs, inplace)
    return outputs


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    F.relu: _relu,
    **{function: functools.partial(ours, once=True) for function, ours in REPLACEMENTS.items()},
}
