"""An over-parameterised head on features that stay as they are: one hidden layer with ReLU."""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.models.layers import default_, with_head


class MLPHead(nn.Module):
    """Linear `width`, ReLU, linear classes. 263,682 parameters at 512 features, width 512 and 2 classes."""

    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, width)
        self.head = nn.Linear(width, classes)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the head sees. inputs (B, F) -> (B, width)."""
        return F.relu(self.fc1(inputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(inputs))


def build(
    input_shape: tuple[int, ...], classes: int, generator: torch.Generator, width: int = 512, head: str = "linear"
) -> MLPHead:
    """A head of `width` hidden units with PyTorch's default initial weights. input_shape is (F,)."""
    model = MLPHead(input_shape[0], classes, width)
    for layer in (model.fc1, model.head):
        default_(layer, generator)
    return with_head(model, head, generator)
