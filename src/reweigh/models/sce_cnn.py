"""The CNN of the label-noise experiments on CIFAR-10 (Wang et al., ICCV 2019, "SCE"; layer sizes from its public code).

ABSGD's paper calls it a 4-layer CNN; the code has six convolutions and two linear layers. The weight decay of `fc1` is
one of its own there: `training.layer_weight_decay: {fc1: 0.01}`.
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.models.layers import default_, with_head
from reweigh.models.norms import BatchNorm1d, BatchNorm2d


class SceCnn(nn.Module):
    """Three blocks of two 3×3 convolutions (64, 128, 196 channels), linear 256, all with batch norm; then the head.

    1,639,794 parameters for 10 classes. `width` scales every hidden size.
    """

    def __init__(self, channels: int, classes: int, side: int, width: float = 1.0) -> None:
        super().__init__()
        sizes = [max(1, round(size * width)) for size in (64, 128, 196)]
        hidden, before = max(1, round(256 * width)), channels
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for size in sizes:
            for _ in range(2):
                self.convs.append(nn.Conv2d(before, size, 3, padding=1))
                self.norms.append(BatchNorm2d(size))
                before = size
        self.fc1 = nn.Linear(before * (side // 8) ** 2, hidden)
        self.norm = BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees. images (B, C, H, W) -> (B, 256)."""
        hidden = images
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            hidden = norm(conv(hidden))
            if number % 2:  # the pool before the ReLU: the same value and gradient, on a quarter of the numbers
                hidden = F.max_pool2d(hidden, 2)
            hidden = F.relu(hidden, inplace=True)
        return F.relu(self.norm(self.fc1(hidden.flatten(1))), inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def build(
    input_shape: tuple[int, ...], classes: int, generator: torch.Generator, width: float = 1.0, head: str = "linear"
) -> SceCnn:
    """SCE's CNN with PyTorch's default weights. input_shape is (C, 32, 32), or other sides that eight divides."""
    model = SceCnn(input_shape[0], classes, input_shape[1], width)
    for layer in (*model.convs, model.fc1, model.head):
        default_(layer, generator)
    return with_head(model, head, generator)
