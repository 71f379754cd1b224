"""ResNet-18 and ResNet-34 for 32×32 images: the wide nets of He et al. 2016 behind a 3×3 convolution without pooling.

| depth | blocks a stage | parameters, 10 / 100 classes |
|-------|----------------|------------------------------|
| 18    | 2, 2, 2, 2     | 11,173,962 / 11,220,132      |
| 34    | 3, 4, 6, 3     | 21,282,122 / 21,328,292      |
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.errors import ConfigError
from reweigh.models.layers import default_, with_head
from reweigh.models.norms import BatchNorm2d
from reweigh.models.projection import Projection

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut, which is a 1×1 convolution with batch norm where the shape changes."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = BatchNorm2d(filters)
        projects = stride > 1 or channels != filters
        self.project = Projection(channels, filters, stride) if projects else None
        self.project_norm = BatchNorm2d(filters) if projects else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        shortcut = inputs if self.project is None else self.project_norm(self.project(inputs))  # type: ignore[misc]
        hidden = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)).add_(shortcut), inplace=True)


class ResNet(nn.Module):
    """A 3×3 convolution, four stages (64, 128, 256, 512 channels), global mean, head; `width` scales the channels."""

    def __init__(self, channels: int, classes: int, depth: int, width: float) -> None:
        super().__init__()
        filters = [max(1, round(size * width)) for size in (64, 128, 256, 512)]
        self.conv = nn.Conv2d(channels, filters[0], 3, 1, 1, bias=False)
        self.norm = BatchNorm2d(filters[0])
        blocks, before = [], filters[0]
        for stage, (after, count) in enumerate(zip(filters, BLOCKS[depth], strict=True)):
            for number in range(count):
                blocks.append(Block(before, after, 2 if stage and not number else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees. images (B, C, 32, 32) -> (B, 512)."""
        return self.blocks(F.relu(self.norm(self.conv(images)), inplace=True)).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def build(
    input_shape: tuple[int, ...],
    classes: int,
    generator: torch.Generator,
    depth: int,
    width: float = 1.0,
    head: str = "linear",
) -> ResNet:
    """ResNet of depth 18 or 34 with PyTorch's default weights; input_shape is (C, 32, 32)."""
    if depth not in BLOCKS:
        raise ConfigError(f"resnet_cifar: no depth {depth!r}; use one of {', '.join(map(str, BLOCKS))}")
    model = ResNet(input_shape[0], classes, depth, width)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            default_(layer, generator)
    return with_head(model, head, generator)
