"""Batch norm by PyTorch's own kernels, with a short forward mode: what a hypergradient's pass of dual numbers needs.

On a GPU, `nn.BatchNorm2d` calls cuDNN, whose persistent kernel wants the whole device to itself: beside the streams of
other runs it can stall. `torch.native_batch_norm` never does, and on a CPU it is what `nn.BatchNorm2d` calls anyway.
"""

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm


class _Native(_BatchNorm):
    """PyTorch's batch norm without cuDNN, and with a tangent of its own in a pass of dual numbers without a graph.

    With c = x − μ, r = 1/√(σ² + ε) and means over batch and places, the tangent of γ r c + β is

        ẏ = γ r (ẋ − mean ẋ − r² c mean(c ẋ)) + γ̇ r c + β̇,

    linear in ẋ and c with one coefficient a channel: six passes over the data, where PyTorch's formula, made of its own
    operations, takes some twenty. With running statistics the means of ẋ and c ẋ fall away.

    Derivatives of any order, with a graph, are PyTorch's. `momentum` is a number: no cumulative average. Raises
    ValueError for a batch that has one value a channel, whose variance is none.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self._check_input_dim(inputs)
        by_batch = self.training or self.running_mean is None
        if by_batch and inputs.numel() == inputs.shape[1]:
            raise ValueError(f"batch norm needs more than one value a channel, got inputs {tuple(inputs.shape)}")
        kept = self.track_running_stats or not self.training
        if self.training and kept and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = (self.running_mean, self.running_var) if kept else (None, None)
        if not torch.is_grad_enabled():
            inputs, tangent = forward_ad.unpack_dual(inputs)
            weight, weight_tangent = forward_ad.unpack_dual(self.weight)
            bias, bias_tangent = forward_ad.unpack_dual(self.bias)
            if not (tangent is None and weight_tangent is None and bias_tangent is None):
                return self._dual(inputs, weight, bias, (tangent, weight_tangent, bias_tangent), running, by_batch)
        return self._normalised(inputs, self.weight, self.bias, running, by_batch)[0]

    def _normalised(
        self,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        running: tuple[torch.Tensor | None, torch.Tensor | None],
        by_batch: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The output, and the mean and 1/√(σ² + ε) of the batch, (C,) each; those are empty without its statistics."""
        momentum = 0.0 if self.momentum is None else self.momentum
        return torch.native_batch_norm(inputs, weight, bias, *running, by_batch, momentum, self.eps)

    def _dual(
        self,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        tangents: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
        running: tuple[torch.Tensor | None, torch.Tensor | None],
        by_batch: bool,
    ) -> torch.Tensor:
        """The output as a dual number, from the tangents of inputs, weight and bias (None: zero)."""
        tangent, weight_tangent, bias_tangent = tangents
        outputs, mean, scale = self._normalised(inputs, weight, bias, running, by_batch)
        if not by_batch and running[0] is not None and running[1] is not None:
            mean, scale = running[0], (running[1] + self.eps).rsqrt()
        centred = inputs - _wide(mean, inputs)
        along_centred = weight_tangent * scale if weight_tangent is not None else torch.zeros_like(scale)
        constant = bias_tangent if bias_tangent is not None else torch.zeros_like(scale)
        if tangent is None:
            derivative = centred * _wide(along_centred, inputs) + _wide(constant, inputs)
        else:
            gain = weight * scale
            if by_batch:
                count = inputs.numel() // len(gain)
                others = (0, *range(2, inputs.ndim))
                constant = constant - gain * tangent.sum(others) / count
                along_centred = along_centred - gain * scale.square() * (centred * tangent).sum(others) / count
            derivative = torch.addcmul(_wide(constant, inputs), tangent, _wide(gain, inputs))
            derivative.addcmul_(centred, _wide(along_centred, inputs))
        return forward_ad.make_dual(outputs, derivative.to(outputs.dtype))


class BatchNorm1d(_Native, nn.BatchNorm1d):
    """Of features (B, C) or (B, C, L)."""


class BatchNorm2d(_Native, nn.BatchNorm2d):
    """Of images (B, C, H, W)."""


def _wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """One value a channel, (C,) -> (C, 1, ...), which broadcasts over `like` (B, C, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 2))
