"""LeNet for 28×28 grey images (TDR §4.1.1; layer sizes from its public code)."""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.models.layers import glorot_, with_head


class LeNet(nn.Module):
    """Two valid 5×5 convolutions with max-pooling, then three linear layers. 43,746 parameters for 2 classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 120)
        self.fc2 = nn.Linear(120, 84)
        self.head = nn.Linear(84, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The pool before the ReLU: the same value and gradient to the bit, on a quarter of the numbers.
        features = F.relu(F.max_pool2d(self.conv1(images), 2))
        features = F.relu(F.max_pool2d(self.conv2(features), 2)).flatten(1)
        return self.head(F.relu(self.fc2(F.relu(self.fc1(features)))))


def build(input_shape: tuple[int, ...], classes: int, generator: torch.Generator, head: str = "linear") -> LeNet:
    """LeNet with Glorot-uniform kernels and zero biases. input_shape is (C, 28, 28)."""
    model = LeNet(input_shape[0], classes)
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2, model.head):
        glorot_(layer, generator)
    return with_head(model, head, generator)
