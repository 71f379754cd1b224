"""The derivative of a forward pass along a direction of its parameters, for a pass that is made anyway.

    with along(model, direction) as passes:
        loss = f(model(inputs))               # as ever, and it can be differentiated as ever
    outputs, slopes = passes[0]               # slopes = d outputs / dε at θ + ε direction

`lookahead.directional_derivatives` makes a pass of its own. Where a step needs the derivative at its own parameters, on
its own batch, in its own mode, the values are those of its own pass: that is one forward pass in nine of a step of
example reweighting.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from reweigh.hypergrad.batch_norm import REPLACEMENTS
from reweigh.hypergrad.lookahead import Parameters

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
    """Batch norms of the passes within have the tangent of `hypergrad.batch_norm` instead of PyTorch's long one."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        replacement = REPLACEMENTS.get(function)
        outputs = None if replacement is None else replacement(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if outputs is None else outputs
