"""Wide ResNets for 32×32 images (Zagoruyko and Komodakis, BMVC 2016): pre-activation blocks, few and wide.

| net       | parameters, 10 / 100 classes | multiply-adds of an image, 100 classes |
|-----------|------------------------------|----------------------------------------|
| WRN-16-4  | 2,748,890 / 2,772,020        | 0.39 · 10⁹                             |
| WRN-28-10 | 36,479,194 / 36,536,884      | 5.24 · 10⁹                             |

WRN-d-k has d = 6n + 4 layers: a 3×3 convolution of 16 channels, three stages of n blocks (16k, 32k and 64k channels),
batch norm, ReLU, mean over places, head. A block is y = S(x) + conv(drop(relu(norm(conv(relu(norm(x))))))). Where it
changes the number of channels, S is a 1×1 convolution of relu(norm(x)), the activation that both branches then share.
Dropout lies between the two convolutions, after the ReLU, as in the authors' code (`models/wide-resnet.lua`).

First weights are those of that code: kernels normal by fan-out (variance 2 / fan_out), a head with PyTorch's default
kernel and zero bias. Batch norm begins at 1 and 0, where Torch7 drew its factors at random.
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.errors import ConfigError
from reweigh.models.layers import Dropout, default_, with_head
from reweigh.models.norms import BatchNorm2d
from reweigh.models.projection import Projection


class Block(nn.Module):
    """Two 3×3 convolutions, each after batch norm and ReLU, beside a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm2 = BatchNorm2d(filters)
        self.drop = Dropout(dropout) if dropout else None
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        projects = stride > 1 or channels != filters
        self.project = Projection(channels, filters, stride) if projects else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(inputs), inplace=True)
        shortcut = inputs if self.project is None else self.project(active)
        hidden = F.relu(self.norm2(self.conv1(active)), inplace=True)
        if self.drop is not None:
            hidden = self.drop(hidden)
        return self.conv2(hidden) + shortcut


class WideResNet(nn.Module):
    """A 3×3 convolution, three stages of n blocks (16k, 32k, 64k channels), batch norm, ReLU, global mean, head."""

    def __init__(self, channels: int, classes: int, depth: int, width: float, dropout: float) -> None:
        super().__init__()
        filters = [max(1, round(size * width)) for size in (16, 32, 64)]
        self.conv = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        chain, before = [], 16
        for stage, after in enumerate(filters):
            for number in range((depth - 4) // 6):
                chain.append(Block(before, after, 2 if stage and not number else 1, dropout))
                before = after
        self.blocks = nn.Sequential(*chain)
        self.norm = BatchNorm2d(before)
        self.head = nn.Linear(before, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees. images (B, C, 32, 32) -> (B, 64k)."""
        return F.relu(self.norm(self.blocks(self.conv(images))), inplace=True).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def build(
    input_shape: tuple[int, ...],
    classes: int,
    generator: torch.Generator,
    depth: int,
    width: float,
    dropout: float = 0.0,
    head: str = "linear",
) -> WideResNet:
    """WRN-`depth`-`width` whose blocks drop a share `dropout` of their hidden units; input_shape is (C, 32, 32).

    Raises ConfigError for a depth that is not 6n + 4, a width that is not above 0, and a share outside [0, 1).
    """
    if depth < 10 or depth % 6 != 4:
        raise ConfigError(f"wrn: no depth {depth!r}; use 6n + 4: 10, 16, 22, 28, 40")
    if not width > 0:
        raise ConfigError(f"wrn: no width {width!r}; use a number above 0, as 4 or 10")
    if not 0 <= dropout < 1:
        raise ConfigError(f"wrn: no dropout {dropout!r}; use a share from 0 on and below 1")
    model = WideResNet(input_shape[0], classes, depth, width, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
    default_(model.head, generator)
    nn.init.zeros_(model.head.bias)
    return with_head(model, head, generator)
