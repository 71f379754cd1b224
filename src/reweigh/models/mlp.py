"""The two-layer perceptron of TDR's Adult experiment (TDR §4.3: 120 and 84 hidden units)."""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.models.layers import glorot_, with_head


class MLP(nn.Module):
    """Linear 120, linear 84, linear classes, with ReLU between. 22,934 parameters at 104 inputs and 2 classes."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, 120)
        self.fc2 = nn.Linear(120, 84)
        self.head = nn.Linear(84, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.fc2(F.relu(self.fc1(inputs)))))


def build(input_shape: tuple[int, ...], classes: int, generator: torch.Generator, head: str = "linear") -> MLP:
    """MLP with Glorot-uniform kernels and zero biases. input_shape is (F,)."""
    model = MLP(input_shape[0], classes)
    for layer in (model.fc1, model.fc2, model.head):
        glorot_(layer, generator)
    return with_head(model, head, generator)
