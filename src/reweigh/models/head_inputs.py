"""What a model's head is shown: the last hidden layer, seen as a pass goes by."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seen_by_head(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the head is shown in each pass within, float32 and without a graph. -> a list of (B, F)."""
    seen: list[torch.Tensor] = []
    head: nn.Module = model.head  # type: ignore[assignment]
    handle = head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0].detach().float()))
    try:
        yield seen
    finally:
        handle.remove()
