"""ResNet-32 for 32×32 images (He et al. 2016, §4.2), in the two forms that the papers' public codes build.

| shortcut                                    | first weights      | parameters, 10 / 100 classes | used by          |
|---------------------------------------------|--------------------|------------------------------|------------------|
| "A": stride and zero channels on both sides | Kaiming-normal     | 464,154 / 470,004            | LDAM, ABSGD, HAR |
| "B": 1×1 convolution and batch norm         | PyTorch's defaults | 466,906 / 472,756            | AutoBalance      |

`head="cosine"` compares directions: logits in −1 … 1 without a bias (LDAM): 464,144 / 469,904 with shortcut A. Its rows
begin uniform in a cube, divided by their length, as LDAM-DRW's: the logits do not see how long a row is, but a step
turns it by less the longer it is. `blocks` in a stage and `width` make smaller nets of the family for smaller scales:
6 × blocks + 2 layers. `dropout` is the share of the head's inputs that a step of training drops (MOLERE, CVPR 2024).
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.errors import ConfigError
from reweigh.models.layers import CosineHead, Dropout, default_, kaiming_, unit_rows_
from reweigh.models.norms import BatchNorm2d
from reweigh.models.projection import Projection


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.stride, self.extra = stride, filters - channels
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = BatchNorm2d(filters)
        projects = shortcut == "B" and (stride > 1 or self.extra)
        self.project = Projection(channels, filters, stride) if projects else None
        self.project_norm = BatchNorm2d(filters) if projects else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.project is not None:
            shortcut = self.project_norm(self.project(inputs))  # type: ignore[misc]
        elif self.extra or self.stride > 1:
            before = self.extra // 2
            sparse = inputs[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(sparse, (0, 0, 0, 0, before, self.extra - before))
        else:
            shortcut = inputs
        hidden = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)).add_(shortcut), inplace=True)


class ResNet32(nn.Module):
    """A 3×3 convolution, three stages of five blocks (16, 32, 64 channels), global mean, head; `width` scales them."""

    def __init__(
        self, channels: int, classes: int, width: float, shortcut: str, head: str, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        filters = [max(1, round(size * width)) for size in (16, 32, 64)]
        self.conv = nn.Conv2d(channels, filters[0], 3, 1, 1, bias=False)
        self.norm = BatchNorm2d(filters[0])
        chain, before = [], filters[0]
        for after in filters:
            for number in range(blocks):
                stride = 2 if number == 0 and after != filters[0] else 1
                chain.append(Block(before, after, stride, shortcut))
                before = after
        self.blocks = nn.Sequential(*chain)
        self.drop = Dropout(dropout) if dropout else None
        self.head = CosineHead(before, classes) if head == "cosine" else nn.Linear(before, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees, but for dropout. images (B, C, 32, 32) -> (B, 64)."""
        return self.blocks(F.relu(self.norm(self.conv(images)), inplace=True)).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        return self.head(features if self.drop is None else self.drop(features))


def build(
    input_shape: tuple[int, ...],
    classes: int,
    generator: torch.Generator,
    width: float = 1.0,
    shortcut: str = "A",
    head: str = "linear",
    blocks: int = 5,
    dropout: float = 0.0,
) -> ResNet32:
    """ResNet-32; input_shape is (C, 32, 32).

    Raises ConfigError for a shortcut or head that does not exist, and for a `dropout` outside [0, 1).
    """
    if shortcut not in ("A", "B"):
        raise ConfigError(f"resnet32: no shortcut {shortcut!r}; use A or B")
    if head not in ("linear", "cosine"):
        raise ConfigError(f"resnet32: no head {head!r}; use linear or cosine")
    if not 0 <= dropout < 1:
        raise ConfigError(f"resnet32: no dropout {dropout!r}; use a share from 0 on and below 1")
    model = ResNet32(input_shape[0], classes, width, shortcut, head, blocks, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            (kaiming_ if shortcut == "A" else default_)(layer, generator)
        elif isinstance(layer, CosineHead):
            unit_rows_(layer, generator)
    return model
