"""Data on the device, and streams of batches whose k-th batch is a pure function of (seed, stream, k).

Because a batch depends on nothing but its number, a run resumes exactly from a counter, and a run in a pack draws what
it would have drawn alone.
"""

from dataclasses import dataclass

import numpy as np
import torch

from reweigh.data.arrays import Part
from reweigh.streams import rng, stream_seed
from reweigh.training.augment import crop_and_flip


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs float32 (B, ...), labels int64 (B,), groups int64 (B,): what weights are shared by (labels, or sex)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


class DevicePart:
    """One part of a split (train, target, test): its raw inputs, labels and groups, on the device."""

    def __init__(self, inputs: np.ndarray, part: Part, scale_inputs: str, device: torch.device) -> None:
        self.inputs = torch.from_numpy(np.ascontiguousarray(inputs[part.index])).to(device)
        self.labels = torch.from_numpy(part.label.astype(np.int64)).to(device)
        self.groups = torch.from_numpy(part.group.astype(np.int64)).to(device)
        self.scale_inputs = scale_inputs

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor | slice, augment_seed: int | None = None) -> Batch:
        """The examples of `rows`, augmented if a seed is given, scaled, as float32 (images channels last)."""
        inputs = self.inputs[rows]
        if augment_seed is not None:
            inputs = crop_and_flip(inputs, augment_seed)
        if inputs.ndim == 4:
            inputs = inputs.to(torch.float32, memory_format=torch.channels_last)
        if self.scale_inputs == "centred":
            inputs = inputs / 128 - 1
        return Batch(inputs, self.labels[rows], self.groups[rows])


class BatchStream:
    """An endless stream of batches: a fresh shuffle each cycle, incomplete batches dropped.

    A part smaller than one batch gives all of itself every time.
    """

    def __init__(self, part: DevicePart, batch_size: int, seed: int, name: str, augment: bool) -> None:
        self.part, self.seed, self.name, self.augment = part, seed, name, augment
        self.batch_size = min(batch_size, len(part))
        self.per_cycle = len(part) // self.batch_size if self.batch_size else 0
        self._cycle, self._order = -1, torch.empty(0)

    def batch(self, number: int) -> Batch:
        """Batch `number`, counted from 0 since the start of the run."""
        cycle, place = divmod(number, self.per_cycle)
        if cycle != self._cycle:
            order = rng(self.seed, self.name, cycle).permutation(len(self.part))
            self._cycle, self._order = cycle, torch.from_numpy(order).to(self.part.labels.device)
        rows = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        return self.part.take(rows, stream_seed(self.seed, "augment", self.name, number) if self.augment else None)
