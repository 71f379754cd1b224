"""LeNet with dropout before its last layer (MOLERE, CVPR 2024: a share of 0.25 of its inputs).

Its parameters and their first values are LeNet's. It is a model of its own so that nothing changes for runs of LeNet.
"""

import torch
import torch.nn.functional as F

from reweigh.errors import ConfigError
from reweigh.models import lenet
from reweigh.models.layers import Dropout, glorot_, with_head


class LeNet(lenet.LeNet):
    """LeNet whose head sees its inputs through dropout."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(channels, classes)
        self.drop = Dropout(dropout)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees, but for dropout. images (B, C, 28, 28) -> (B, 84)."""
        features = F.relu(F.max_pool2d(self.conv1(images), 2))
        features = F.relu(F.max_pool2d(self.conv2(features), 2)).flatten(1)
        return F.relu(self.fc2(F.relu(self.fc1(features))))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.features(images)))


def build(
    input_shape: tuple[int, ...], classes: int, generator: torch.Generator, dropout: float = 0.25, head: str = "linear"
) -> LeNet:
    """LeNet as `reweigh.models.lenet` begins it, with dropout; input_shape is (C, 28, 28).

    Raises ConfigError for a `dropout` outside [0, 1).
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"lenet_dropout: no dropout {dropout!r}; use a share from 0 on and below 1")
    model = LeNet(input_shape[0], classes, dropout)
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2, model.head):
        glorot_(layer, generator)
    return with_head(model, head, generator)
