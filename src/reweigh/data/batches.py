"""Data on the device, and streams of batches whose k-th batch is a pure function of (seed, stream, k).

Because a batch depends on nothing but its number, a run resumes exactly from a counter, and a run beside others draws
what it would have drawn alone. A stream draws an epoch at a time on the host and keeps it on the device, at addresses
that never change: a CUDA graph of a training step needs no more than the place of its batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from reweigh.data import augment
from reweigh.data.arrays import Part, RawData
from reweigh.data.sampling import check_length, epoch_size, order
from reweigh.layouts import MEMORY_FORMATS
from reweigh.streams import rng


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs float32 (B, ...), labels and groups int64 (B,), rows int64 (B,): the places of the examples in their part.

    Groups are what weights are shared by: the labels, or a sensitive attribute.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor
    rows: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Stream(Protocol):
    """Batches by number. `seek` works on the host; `current` on the device, and may be captured in a CUDA graph."""

    per_cycle: int  # batches in one pass over the part
    last: int  # examples in the last of them

    @property
    def size(self) -> int:
        """Examples in the batch that the stream stands at."""

    def seek(self, number: int) -> None:
        """Stand at batch `number`, counted from 0 since the start of the run."""

    def current(self) -> Batch:
        """The batch that the stream stands at."""

    def batch(self, number: int) -> Batch:
        """`seek` and `current`."""

    def follow(self, members: np.ndarray) -> None:
        """Draw from these rows of the part from the next batch on, of a stream of members: as many as before."""


class InputPart(Protocol):
    """One part of a split (train, target, test) as a run uses it, on the device or streamed to it."""

    labels: torch.Tensor  # int64 (N,)
    groups: torch.Tensor  # int64 (N,)
    input_shape: tuple[int, ...]
    scaled: "Scaling"  # from raw inputs to those of batches

    def __len__(self) -> int: ...

    def stream(
        self,
        batch_size: int,
        seed: int,
        name: str,
        augmented: bool,
        drop_last: bool = True,
        sampling: str = "uniform",
        members: np.ndarray | None = None,
    ) -> Stream:
        """Batches in a fresh random order each cycle; see `reweigh.data.sampling`. Of these rows only: `members`."""

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The whole part in its own order, never augmented: what evaluation sees."""


def make_part(
    raw: RawData,
    part: Part,
    data: Mapping[str, Any],
    device: torch.device,
    train: bool = True,
    layout: str = "channels-last",
) -> InputPart:
    """A part of a split, of the official training or test inputs of `raw`; `data` is the data block of a spec.

    Inputs that stay on disk make their own part; arrays are copied to the device.
    """
    inputs = raw.train_inputs if train else raw.test_inputs
    if hasattr(inputs, "part"):
        return inputs.part(part, data, device, train, layout)
    return DevicePart(inputs, part, data["scale_inputs"], device, augment.of(data["augment"]), layout)


class Scaling:
    """Raw inputs to float32: `centred` 0…255 to −1…1; {"mean", "std"} a channel, of inputs 0…1; `raw`, `none` as is."""

    def __init__(self, said: str | Mapping[str, Any], device: torch.device, layout: str = "channels-last") -> None:
        self.memory_format = MEMORY_FORMATS[layout]
        self.centred = said == "centred"
        self.moments = None
        if not isinstance(said, str):
            moments = torch.tensor([said["mean"], said["std"]], dtype=torch.float32)[..., None, None]
            self.moments = moments.to(device).unbind(0)  # each (C, 1, 1)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """uint8 or float (B, ...) -> float32 (B, ...), images in the layout of the run."""
        if inputs.ndim == 4:
            inputs = inputs.to(torch.float32, memory_format=self.memory_format)
        if self.centred:
            return inputs / 128 - 1
        if self.moments is not None:
            mean, std = self.moments
            return (inputs / 255 - mean) / std
        return inputs

    def to_unit(self) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        """A slope and an offset, floats or (C, 1, 1): slope · scaled + offset is the raw image as 0 … 1."""
        if self.centred:
            return 128 / 255, 128 / 255
        if self.moments is not None:
            return self.moments[1], self.moments[0]
        return 1 / 255, 0.0


class DevicePart:
    """One part of a split: its raw inputs (images as uint8), labels and groups, on the device."""

    def __init__(
        self,
        inputs: np.ndarray,
        part: Part,
        scale_inputs: str | Mapping[str, Any],
        device: torch.device,
        augmentation: augment.Augmentation | None = None,
        layout: str = "channels-last",
    ) -> None:
        self.inputs = torch.from_numpy(np.ascontiguousarray(inputs[part.index])).to(device)
        self.labels = torch.from_numpy(part.label.astype(np.int64)).to(device)
        self.groups = torch.from_numpy(part.group.astype(np.int64)).to(device)
        self.input_shape = tuple(inputs.shape[1:])
        self.scaled = Scaling(scale_inputs, device, layout)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor, draws: torch.Tensor | None = None) -> Batch:
        """The examples of `rows` (B,) as float32, augmented by their draws if there are any, scaled."""
        inputs = self.inputs[rows]
        if draws is not None:
            inputs = augment.apply(inputs, self.augmentation, draws)  # type: ignore[arg-type]
        return Batch(self.scaled(inputs), self.labels[rows], self.groups[rows], rows)

    def stream(
        self,
        batch_size: int,
        seed: int,
        name: str,
        augmented: bool,
        drop_last: bool = True,
        sampling: str = "uniform",
        members: np.ndarray | None = None,
    ) -> "BatchStream":
        return BatchStream(self, batch_size, seed, name, augmented, drop_last, sampling, members)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        rows = torch.arange(len(self), device=self.labels.device)
        for start in range(0, len(self), batch_size):
            yield self.take(rows[start : start + batch_size])


class BatchStream:
    """An endless stream of batches: a fresh order each cycle, whose incomplete last batch is dropped, or kept.

    A part smaller than one batch gives all of itself every time.
    """

    def __init__(
        self,
        part: DevicePart,
        batch_size: int,
        seed: int,
        name: str,
        augmented: bool,
        drop_last: bool = True,
        sampling: str = "uniform",
        members: np.ndarray | None = None,
    ) -> None:
        self.part, self.seed, self.name, self.sampling = part, seed, name, sampling
        self.augmentation = part.augmentation if augmented else None
        self._labels_of_part = part.labels.cpu().numpy()
        self._members = None if members is None else members.copy()  # theirs may change in place
        self._host_labels = self._labels_of_part if members is None else self._labels_of_part[members]
        self.length = epoch_size(sampling, self._host_labels)  # examples of a cycle
        self.batch_size = min(batch_size, self.length)
        self.whole = self.length // self.batch_size if self.batch_size else 0  # complete batches of a cycle
        self.left = 0 if drop_last or not self.batch_size else self.length % self.batch_size
        self.per_cycle, self.last = self.whole + bool(self.left), self.left or self.batch_size
        device = part.labels.device
        self._order = torch.zeros(self.length, dtype=torch.int64, device=device)
        self._draws = torch.zeros((self.length, 4), device=device) if self.augmentation else None
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._cycle, self._short = -1, False

    @property
    def size(self) -> int:
        return self.left if self._short else self.batch_size

    def follow(self, members: np.ndarray) -> None:
        if self._members is not None and np.array_equal(members, self._members):
            return
        labels = self._labels_of_part[members]
        check_length(self.sampling, labels, self.length)
        self._members, self._host_labels, self._cycle = members.copy(), labels, -1

    def seek(self, number: int) -> None:
        cycle, place = divmod(number, self.per_cycle)
        if cycle != self._cycle:
            rows = order(self.sampling, self._host_labels, rng(self.seed, self.name, cycle))
            self._order.copy_(torch.from_numpy(rows if self._members is None else self._members[rows]))
            if self.augmentation:
                generator = rng(self.seed, "augment", self.name, cycle)
                self._draws.copy_(augment.draw(self.augmentation, self.length, generator))  # type: ignore[union-attr]
            self._cycle = cycle
        self._short = place == self.whole
        self._place.fill_(place)

    def current(self) -> Batch:
        draws = None if self._draws is None else self._at_place(self._draws)
        return self.part.take(self._at_place(self._order), draws)

    def batch(self, number: int) -> Batch:
        self.seek(number)
        return self.current()

    def _at_place(self, values: torch.Tensor) -> torch.Tensor:
        """The batch's share of one value an example. The place stays on the device: nothing here waits for it."""
        complete = self.whole * self.batch_size
        if self._short:
            return values[complete:]
        return values[:complete].unflatten(0, (self.whole, self.batch_size)).index_select(0, self._place).squeeze(0)
