"""What models share: initial weights, dropout whose mask is a pure function of a seed, passes that leave no trace."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def glorot_(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Glorot-uniform kernel and zero bias: the default of Keras, which TDR's public code relies on."""
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def truncated_fan_in_(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Variance scaling (scale 1, fan-in): a normal cut at two sd, of variance 1/fan_in after the cut."""
    fan_in = layer.weight[0].numel()
    sd = math.sqrt(1 / fan_in) / 0.87962566103423978  # the sd that a unit normal keeps when cut at ±2
    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd, generator=generator)


class Dropout(nn.Module):
    """Dropout whose mask depends on `seed` and the input's shape only: two passes with one seed drop the same units.

    Without that, a look-ahead would differentiate another function than the one that it stepped along, and a run could
    not be resumed exactly.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.seed = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return inputs
        generator = torch.Generator(inputs.device).manual_seed(self.seed)
        keep = torch.rand(inputs.shape, generator=generator, device=inputs.device) >= self.p
        return inputs * (keep / (1 - self.p)).to(inputs.dtype)


def seed_dropout(model: nn.Module, seed: int) -> None:
    """Give every dropout layer of `model` its mask seed for the passes that follow."""
    layers = (module for module in model.modules() if isinstance(module, Dropout))
    for number, layer in enumerate(layers):
        layer.seed = (seed + number) % 2**63


@contextmanager
def without_trace(model: nn.Module, training: bool) -> Iterator[None]:
    """Passes in training or in inference mode that change no buffer of `model`: batch norm in training mode uses the
    statistics of the batch and does not touch its running ones. The mode is restored at the end."""
    was_training = model.training
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if training else []
    tracked = [norm.track_running_stats for norm in norms]
    model.train(training)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        model.train(was_training)
        for norm, track in zip(norms, tracked, strict=True):
            norm.track_running_stats = track
