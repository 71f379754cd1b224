"""Models, one file a family. A family's module has `build(input_shape, classes, generator, **options) -> nn.Module`."""

import importlib

import torch
from torch import nn

from reweigh.errors import ConfigError
from reweigh.layouts import MEMORY_FORMATS
from reweigh.streams import stream_seed


def build(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    layout: str = "channels-last",
    **options: object,
) -> nn.Module:
    """The model `name`, its initial weights drawn from the stream "init" of `seed`, on the CPU.

    input_shape is (C, H, W) or (F,); the model maps (B, *input_shape) to logits (B, classes). Its last layer is `head`,
    which every family has as "linear", or as "cosine" with its option `head`.
    `layout` is the order of its kernels in memory: "channels-last", or "nchw".
    """
    try:
        family = importlib.import_module(f"reweigh.models.{name}")
    except ModuleNotFoundError:
        raise ConfigError(f"no model {name!r}: add src/reweigh/models/{name}.py or name one that is there") from None
    generator = torch.Generator().manual_seed(stream_seed(seed, "init"))
    model = family.build(input_shape, classes, generator, **options)
    return model.to(memory_format=MEMORY_FORMATS[layout]) if len(input_shape) == 3 else model


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
