"""The 1×1 convolution with a stride of a ResNet's shortcut, on every processor."""

import torch
from torch import nn

FEW = 8  # oneDNN computes in blocks of as many channels with AVX2


class Projection(nn.Conv2d):
    """A 1×1 convolution without a bias that takes every `stride`-th place.

    With fewer than 8 channels it drops the other places first. By oneDNN's kernels for AVX2 (torch 2.15), the weight
    gradient of a strided 1×1 convolution in channels-last order writes outside its memory there: the process dies.
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__(channels, filters, 1, stride, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.in_channels >= FEW:
            return super().forward(inputs)
        return nn.functional.conv2d(inputs[:, :, :: self.stride[0], :: self.stride[1]], self.weight)
