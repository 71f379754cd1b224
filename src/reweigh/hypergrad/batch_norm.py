"""Batch norm by the statistics of the batch, with its derivatives written out: second order, and forward mode.

PyTorch makes both of dozens of elementwise operations and sums, which can take longer than the convolutions around
them. Written out, all is linear in the inputs and in what comes along, with one coefficient a channel: two sums
by the kernel of PyTorch's own backward pass, and one pass over the data for each tensor.

With x̂ = r (x − μ), r = 1/√(σ² + ε), N values a channel and P v = v − mean(v) − x̂ mean(x̂ v), the tangent for (ẋ, γ̇, β̇)
is γ r P ẋ + γ̇ x̂ + β̇, and the gradients by x, γ and β for the outputs' g are γ r P g, Σ g x̂ and Σ g.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

Normalised = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # outputs, mean (C,), r (C,)


def by_batch(
    inputs: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    once: bool = False,
) -> Normalised | None:
    """`torch.native_batch_norm` of images by the statistics of the batch, affine; None where it is another one.

    What is differentiated only `once` holds no tangent of its inputs in memory.
    """
    if not training or inputs.dim() != 4 or weight is None or bias is None:
        return None
    outputs: Normalised = Norm.apply(inputs, weight, bias, running_mean, running_var, momentum, eps, once)
    return outputs


def functional_by_batch(
    inputs: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    once: bool = False,
) -> torch.Tensor | None:
    """`torch.nn.functional.batch_norm` in the same way."""
    outputs = by_batch(inputs, weight, bias, running_mean, running_var, training, momentum, eps, once)
    return None if outputs is None else outputs[0]


# In the place of which functions of PyTorch; what gives None is left to PyTorch.
REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.native_batch_norm: by_batch,
    F.batch_norm: functional_by_batch,
}


class Norm(torch.autograd.Function):
    """Batch norm by the statistics of the batch: outputs, mean, and scale r."""

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
        once: bool,
    ) -> Normalised:
        found = torch.native_batch_norm(inputs, weight, bias, running_mean, running_var, True, momentum, eps)
        outputs, mean, scale = found
        if once:
            inputs, weight = inputs.detach(), weight.detach()
        ctx.save_for_backward(inputs, weight, mean, scale)
        ctx.save_for_forward(inputs, weight, mean, scale)
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return outputs, mean, scale

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor | None) -> tuple[torch.Tensor, None, None]:
        """The tangent, without a graph of its own."""
        with torch.no_grad():
            inputs, weight, mean, scale = (forward_ad.unpack_dual(value).primal for value in ctx.saved_tensors)
            wide, (along, along_weight, along_bias) = inputs.to(weight.dtype), tangents[:3]
            along = None if along is None else along.to(weight.dtype)  # under autocast only γ and β are float32
            sums = None if along is None else _channel_sums(along, wide, mean, scale)
            tangent = _tangent((along, along_weight, along_bias), wide, weight, mean, scale, sums)
            return tangent.to(inputs.dtype), None, None

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None, *_: None) -> tuple[torch.Tensor | None, ...]:
        if gradient is None:
            return (None,) * 8
        found = NormGradient.apply(gradient, *ctx.saved_tensors, ctx.eps)
        return *found, *[None] * 5


class NormGradient(torch.autograd.Function):
    """The gradients of batch norm by inputs, γ and β, and their derivative.

    Along u (of the first), G (of the second) and B (of the third), with a = mean(x̂ u), b = mean(x̂ g) and
    S = ⟨u, P g⟩ = Σ u g − N mean(u) mean(g) − N a b, their derivatives are

        by g:   γ r P u + G x̂ + B
        by γ:   r S
        by x:   p P u + q P g − γ r² (S/N) x̂,     p = −γ r² b,     q = G r − γ r² a,

    since ∂r/∂x = −r² x̂/N and (∂x̂/∂x)ᵀ v = r P v.
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

        tangents = (along, along_weight, along_bias)
        by_gradient = _tangent(tangents, inputs, weight, mean, scale, (total, centred))
        return by_gradient, by_inputs, (None if along is None else scale * inner), None, None, None


def _tangent(
    tangents: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    inputs: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    sums: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """γ r P u + G x̂ + B, the derivative of batch norm along (u, G, B), each None for zero; `sums` are Σ u and Σ u x̂."""
    along, along_weight, along_bias = tangents
    gain, count = weight * scale, inputs.numel() // len(weight)
    of_x, constant = torch.zeros_like(scale), torch.zeros_like(scale)
    if sums is not None:
        total, centred = sums
        of_x, constant = -gain * centred / count, -gain * total / count
    of_x = (of_x if along_weight is None else of_x + along_weight) * scale
    constant = constant - of_x * mean
    if along_bias is not None:
        constant = constant + along_bias
    return _combined(constant, (inputs, of_x), (along, gain))


def _channel_sums(
    first: torch.Tensor, second: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ f and Σ f (s − mean) scale of each channel, by the kernel that gives batch norm's gradients by β and γ.

    It is given a γ, which decides nothing: without one the kernels of a GPU leave the sums out.
    """
    _, product, total = torch.ops.aten.native_batch_norm_backward(
        first, second, torch.ones_like(scale), None, None, mean, scale, True, 0.0, [False, True, True]
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
