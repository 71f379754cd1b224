"""One linear layer: a head on features that stay as they are."""

import torch
from torch import nn

from reweigh.models.layers import default_, with_head


class Linear(nn.Module):
    """Features to logits. 1,026 parameters at 512 features and 2 classes; 2,562 at 1,280."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, classes)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the head sees: the inputs."""
        return inputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(inputs)


def build(input_shape: tuple[int, ...], classes: int, generator: torch.Generator, head: str = "linear") -> Linear:
    """A linear layer with PyTorch's default initial weights. input_shape is (F,)."""
    model = Linear(input_shape[0], classes)
    default_(model.head, generator)
    return with_head(model, head, generator)
