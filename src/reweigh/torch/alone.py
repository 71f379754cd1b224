"""What a method of `reweigh.methods` asks of its run, where there is no run: a context of counts, batches as given."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from reweigh.data.arrays import Part
from reweigh.data.batches import Batch, DevicePart
from reweigh.errors import ConfigError
from reweigh.methods.base import RunContext

Counts: TypeAlias = Sequence[float] | np.ndarray | torch.Tensor
# inputs (B, ...), labels int64 (B,), and the groups int64 (B,) that share a weight; without them, the labels.
Examples: TypeAlias = tuple[torch.Tensor, torch.Tensor] | tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class ArgumentError(ConfigError, ValueError):
    """An argument of the library that cannot be."""


class Given:
    """A stream that stands at the batch that it was given, wherever it is asked to seek."""

    per_cycle, last = 1, 0

    def __init__(self, batch: Batch) -> None:
        self.batch_given = batch

    @property
    def size(self) -> int:
        return len(self.batch_given)

    def seek(self, number: int) -> None:
        pass

    def current(self) -> Batch:
        return self.batch_given

    def batch(self, number: int) -> Batch:
        return self.batch_given

    def follow(self, members: np.ndarray) -> None:
        raise ArgumentError("a batch that is given has no examples to choose among; pass (inputs, labels) of those")


def context(class_counts: torch.Tensor, group_counts: torch.Tensor | None = None, decay: float = 0.0) -> RunContext:
    """A run of which nothing is known but its counts, float32 (C,) and (G,), and its weight decay; rates follow."""
    groups = class_counts if group_counts is None else group_counts
    none = np.zeros(0, np.int64)
    empty = DevicePart(np.zeros((0, 1), np.float32), Part(none, none, none), "none", class_counts.device)
    nothing = Given(batch_of(class_counts[:0], none_of := torch.zeros(0, dtype=torch.int64), none_of))
    return RunContext(
        seed=0,
        classes=len(class_counts),
        class_counts=class_counts,
        group_counts=groups,
        batch_size=1,
        epochs=1,
        learning_rate=0.0,
        weight_decay=decay,
        target=nothing,
        fresh=nothing,
        train=empty,
        validation=None,
    )


def batch_of(inputs: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None = None) -> Batch:
    """A batch as methods and losses take it; without groups they are the labels."""
    return Batch(inputs, labels, labels if groups is None else groups, torch.arange(len(labels), device=labels.device))


def counts_of(counts: Counts, what: str = "class_counts") -> torch.Tensor:
    """Training examples of each class, float32 (C,), as the runs have them. Raises ArgumentError for no counts."""
    try:
        found = torch.as_tensor(counts).detach().to(torch.float32).clone()
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"{what}: one number for each class, as [900, 100], not {counts!r}") from None
    if found.ndim != 1 or not len(found):
        raise ArgumentError(f"{what}: one number for each class, not an array of shape {tuple(found.shape)}")
    if not bool((found >= 0).all() & found.isfinite().all() & (found.sum() > 0)):
        raise ArgumentError(f"{what}: numbers of examples, none below 0 and some above, not {found.tolist()}")
    return found


def above(name: str, value: float, least: float) -> float:
    """`value`, which must be finite and above `least`; an ArgumentError if it is not."""
    if not least < value < float("inf"):
        raise ArgumentError(f"{name}: a finite number above {least:g}, not {value!r}")
    return value


def above_zero(name: str, value: int) -> int:
    """`value`, which must be a whole number from 1 on; an ArgumentError if it is not."""
    if not 1 <= value < float("inf") or value != int(value):
        raise ArgumentError(f"{name}: a whole number from 1 on, not {value!r}")
    return int(value)
