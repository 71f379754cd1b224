"""Losses of single examples, ONE FILE EACH. What becomes of them is the method's. The class is `Loss` in every file."""

import importlib
from typing import Any

import torch

from reweigh.errors import ConfigError
from reweigh.losses.base import Loss
from reweigh.losses.cross_entropy import cross_entropy

__all__ = ["Loss", "build", "cross_entropy"]  # cross_entropy: the function, not its module of the same name


def build(said: dict[str, Any] | None, class_counts: torch.Tensor, examples: int) -> Loss:
    """The loss that `said` = {"name": ..., its options} names; cross-entropy for None.

    class_counts (C,), some of which may be 0, and `examples` are of the training set. Raises ConfigError for a loss
    that does not exist.
    """
    said = dict(said or {"name": "cross_entropy"})
    name = said.pop("name")
    try:
        module = importlib.import_module(f"reweigh.losses.{name}")
    except ModuleNotFoundError:
        raise ConfigError(f"no loss {name!r}: add src/reweigh/losses/{name}.py or name one that is there") from None
    return module.Loss(class_counts, examples, **said)
