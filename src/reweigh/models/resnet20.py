"""ResNet-20 for 32×32 images, as TDR's public code builds it, and the usual variant with parameter-free shortcuts."""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.errors import ConfigError
from reweigh.models.layers import glorot_, truncated_fan_in_, with_head
from reweigh.models.norms import BatchNorm2d
from reweigh.models.projection import Projection


def _norm(channels: int) -> BatchNorm2d:
    # TensorFlow's "momentum .997" keeps .997 of the old statistics: PyTorch calls that .003.
    return BatchNorm2d(channels, eps=1e-5, momentum=0.003)


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut: a 1×1 convolution without batch norm, zero padding ("A"), or nothing."""

    def __init__(self, channels: int, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        self.stride, self.extra = stride, filters - channels
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = _norm(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = _norm(filters)
        self.project = Projection(channels, filters, stride) if project else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.project is not None:
            shortcut = self.project(inputs)
        elif self.extra or self.stride > 1:
            shortcut = F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        else:
            shortcut = inputs
        hidden = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)).add_(shortcut), inplace=True)


class ResNet20(nn.Module):
    """A 3×3 convolution, three stages of three blocks (16, 32, 64 channels), global mean, linear.

    With `shortcut="projection"` the first block of EVERY stage has a 1×1 projection, that of stage 1 included: 272,018
    parameters for 2 classes. With "A" there is none: 269,202. `width` scales the channels.
    """

    def __init__(self, channels: int, classes: int, width: float = 1.0, shortcut: str = "projection") -> None:
        super().__init__()
        filters = [max(1, round(size * width)) for size in (16, 32, 64)]
        self.conv = nn.Conv2d(channels, filters[0], 3, 1, 1, bias=False)
        self.norm = _norm(filters[0])
        blocks, before = [], filters[0]
        for stage, after in enumerate(filters):
            for number in range(3):
                first = number == 0
                stride = 2 if first and stage > 0 else 1
                blocks.append(Block(before, after, stride, project=first and shortcut == "projection"))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(F.relu(self.norm(self.conv(images)), inplace=True))
        return self.head(features.mean((2, 3)))


def build(
    input_shape: tuple[int, ...],
    classes: int,
    generator: torch.Generator,
    width: float = 1.0,
    shortcut: str = "projection",
    head: str = "linear",
) -> ResNet20:
    """ResNet-20 with truncated-normal fan-in convolutions, a Glorot-uniform last layer. input_shape is (C, 32, 32)."""
    if shortcut not in ("projection", "A"):
        raise ConfigError(f"resnet20: no shortcut {shortcut!r}; use projection or A")
    model = ResNet20(input_shape[0], classes, width, shortcut)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            truncated_fan_in_(module, generator)
    glorot_(model.head, generator)
    return with_head(model, head, generator)
