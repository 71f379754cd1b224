"""The ConvNet of TDR's CIFAR experiments: four convolutions, two linear layers (TDR §4.2; sizes from its code)."""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.models.layers import Dropout, glorot_, with_head


class ConvNet(nn.Module):
    """Four valid 3×3 convolutions (32, 64, 128, 128), dropout .25, linear 1024. 768,194 parameters for 2 classes.

    `width` scales every hidden size: below 1 it is a smaller net for smaller scales.
    """

    def __init__(self, channels: int, classes: int, width: float = 1.0) -> None:
        super().__init__()
        a, b, c, hidden = (max(1, round(size * width)) for size in (32, 64, 128, 1024))
        self.conv1 = nn.Conv2d(channels, a, 3)
        self.conv2 = nn.Conv2d(a, b, 3)
        self.conv3 = nn.Conv2d(b, c, 3)
        self.conv4 = nn.Conv2d(c, c, 3)
        self.fc1 = nn.Linear(4 * c, hidden)
        self.head = nn.Linear(hidden, classes)
        self.drop1, self.drop2, self.drop3 = Dropout(0.25), Dropout(0.25), Dropout(0.25)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The pool before the ReLU: the same value and gradient to the bit, on a quarter of the numbers.
        features = F.max_pool2d(self.conv2(F.relu(self.conv1(images))), 2)  # 32 -> 30 -> 28 -> 14
        features = self.drop1(F.relu(features))
        features = F.relu(F.max_pool2d(self.conv3(features), 2))  # 12 -> 6
        features = F.relu(F.max_pool2d(self.conv4(features), 2))  # 4 -> 2
        hidden = F.relu(self.fc1(self.drop2(features.flatten(1))))
        return self.head(self.drop3(hidden))


def build(
    input_shape: tuple[int, ...], classes: int, generator: torch.Generator, width: float = 1.0, head: str = "linear"
) -> ConvNet:
    """ConvNet with Glorot-uniform kernels and zero biases. input_shape is (C, 32, 32)."""
    model = ConvNet(input_shape[0], classes, width)
    for layer in (model.conv1, model.conv2, model.conv3, model.conv4, model.fc1, model.head):
        glorot_(layer, generator)
    return with_head(model, head, generator)
