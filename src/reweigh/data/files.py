"""Images that stay on disk: a data set too large for the device, behind the interface of one that lies there.

A batch is a pure function of (seed, stream, number), down to the random cut of each image, so workers, prefetching and
resuming change nothing. Images travel to the device as uint8 and become float32 there.
"""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reweigh.data import sampling
from reweigh.data.arrays import Part
from reweigh.data.batches import Batch, Scaling
from reweigh.data.loading import Asked, loaded, ready
from reweigh.data.transforms import IMAGENET_MOMENTS, missing, pixels
from reweigh.errors import ConfigError
from reweigh.streams import rng, stream_seed

AUGMENTS = ("none", "crop-flip")
LOOKED_FOR = 1000  # files of a part that must be there before training starts


class ImageFiles:
    """Images by row, row i being file `paths[i]` below `root`; none is opened before training asks for it.

    Images come out `side` x `side`, in colour; where nothing is random, cut from the middle after the shorter side was
    brought to `resize` pixels, which is 8/7 of `side` (224 from 256) unless said otherwise.
    """

    def __init__(self, root: str | Path, paths: Iterable[str], side: int = 224, resize: int | None = None) -> None:
        self.root, self.side = Path(root), side
        self.resize = round(side * 256 / 224) if resize is None else resize
        if not 0 < side <= self.resize:
            raise ConfigError(
                f"side {side}, resize {self.resize}: an image is cut to `side` from at least as many pixels"
            )
        # One array of bytes: a million str objects would be copied into every worker, as it counts references to them.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, row: int) -> Path:
        """The file of a row."""
        return self.root / os.fsdecode(bytes(self.paths[row]))

    def pixels(self, row: int, seed: int | None = None) -> torch.Tensor:
        """One image, uint8 (3, side, side), cut at random if there is a seed. Raises DataError naming the file."""
        return pixels(self.path(row), self.side, self.resize, seed)

    def part(
        self,
        part: Part,
        data: Mapping[str, Any],
        device: torch.device,
        train: bool = True,
        layout: str = "channels-last",
    ) -> "FilePart":
        """A part of a split whose rows are these images; `data` is the data block of a spec.

        Raises DataError if files are missing. Of a large part only some, spread over all of it, are looked for: a
        million questions to a distant disk take long, and an archive that was forgotten shows by any of them.
        """
        looked_for = np.linspace(0, len(part) - 1, min(len(part), LOOKED_FOR)).astype(np.int64)
        for row in part.index[looked_for]:
            if not self.path(row).is_file():
                raise missing(self.path(row))
        return FilePart(self, part, data, device, layout)


class FilePart:
    """One part of a split whose images stay on disk; labels and groups int64 (N,) are on the device."""

    def __init__(
        self,
        files: ImageFiles,
        part: Part,
        data: Mapping[str, Any],
        device: torch.device,
        layout: str = "channels-last",
    ) -> None:
        if data["augment"] not in AUGMENTS:
            raise ConfigError(
                f"augment {data['augment']!r}: images that stay on disk can be augmented by: {', '.join(AUGMENTS)}"
            )
        self.files, self.index, self.device = files, part.index, device
        self.labels = torch.from_numpy(part.label.astype(np.int64)).to(device)
        self.groups = torch.from_numpy(part.group.astype(np.int64)).to(device)
        self.input_shape = (3, files.side, files.side)
        self.scaled = Scaling(data.get("scale_inputs", IMAGENET_MOMENTS), device, layout)
        self.augment = data["augment"] == "crop-flip"

    def __len__(self) -> int:
        return len(self.index)

    def stream(
        self,
        batch_size: int,
        seed: int,
        name: str,
        augmented: bool,
        drop_last: bool = True,
        sampling: str = "uniform",
        members: np.ndarray | None = None,
    ) -> "FileStream":
        """Batches in a fresh random order each cycle."""
        return FileStream(self, batch_size, seed, name, augmented, drop_last, sampling, members)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The whole part in its own order, never augmented: what evaluation sees."""
        starts = range(0, len(self), batch_size)
        asked = ([(row, None) for row in range(start, min(start + batch_size, len(self)))] for start in starts)
        for rows, images in self.loaded(asked):  # type: ignore[arg-type]
            there = (ready(values, self.device).to(self.device, non_blocking=True) for values in (rows, images))
            yield self.batch_of(*there)

    def loaded(self, batches: Iterable[Asked]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Rows of this part and their images, batch by batch, on the host; see `reweigh.data.loading`."""
        return loaded(functools.partial(_read, self.files, self.index), len(self), batches)

    def batch_of(self, rows: torch.Tensor, images: torch.Tensor) -> Batch:
        """The batch of these rows (B,) with these images, uint8 (B, 3, side, side), both on the device."""
        return Batch(self.scaled(images), self.labels[rows], self.groups[rows], rows)


def _read(files: ImageFiles, index: np.ndarray, row: int, seed: int | None) -> torch.Tensor:
    return files.pixels(index[row], seed)


@dataclass(frozen=True)
class Order:
    """Which examples are in which batch of a stream, as a pure function of the batch's number."""

    labels: np.ndarray  # of the part, or of its members
    members: np.ndarray | None
    sampling: str
    count: int  # examples of a cycle
    batch_size: int
    per_cycle: int
    seed: int
    name: str
    augment: bool

    def places(self, number: int) -> range:
        """Where batch `number` lies in the order of its cycle."""
        start = number % self.per_cycle * self.batch_size
        return range(start, min(start + self.batch_size, self.count))

    def asked_from(self, number: int) -> Iterator[Asked]:
        """What the loader is asked for, from batch `number` on: rows, and a seed for each image's own random cut."""
        order = None
        for cycle, place in (divmod(later, self.per_cycle) for later in itertools.count(number)):
            if place == 0 or order is None:
                order = sampling.order(self.sampling, self.labels, rng(self.seed, self.name, cycle))
                order = order if self.members is None else self.members[order]
            yield [(int(order[at]), self._cut_seed(cycle, at)) for at in self.places(place)]

    def _cut_seed(self, cycle: int, at: int) -> int | None:
        return stream_seed(self.seed, "augment", self.name, cycle, at) if self.augment else None


class FileStream:
    """An endless stream of batches, the examples of `BatchStream` in its order, whose images workers read ahead.

    Going to the next batch takes what was read ahead; going anywhere else, as a resumed run does, starts again there.
    """

    def __init__(
        self,
        part: FilePart,
        batch_size: int,
        seed: int,
        name: str,
        augmented: bool,
        drop_last: bool = True,
        drawn: str = "uniform",
        members: np.ndarray | None = None,
    ) -> None:
        self.part = part
        members = None if members is None else members.copy()  # theirs may change in place
        labels = part.labels.cpu().numpy() if members is None else part.labels.cpu().numpy()[members]
        count = sampling.epoch_size(drawn, labels)
        batch_size = min(batch_size, count)
        whole, left = divmod(count, batch_size) if batch_size else (0, 0)
        kept = 0 if drop_last else left
        self.per_cycle, self.last = whole + (kept > 0), kept or batch_size
        augment = part.augment and augmented
        self.order = Order(labels, members, drawn, count, batch_size, self.per_cycle, seed, name, augment)
        self._number: int | None = None
        self._ahead: Iterator[tuple[torch.Tensor, torch.Tensor]] | None = None
        # Made when they are first needed: most methods leave some of their streams alone.
        self._rows: torch.Tensor | None = None
        self._images: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """Examples in the batch that the stream stands at."""
        return len(self.order.places(self._number or 0))

    def follow(self, members: np.ndarray) -> None:
        """Draw from these rows of the part from the next batch on; what was read ahead of others is dropped."""
        if self.order.members is not None and np.array_equal(members, self.order.members):
            return
        labels = self.part.labels.cpu().numpy()[members]
        sampling.check_length(self.order.sampling, labels, self.order.count)
        self.order = replace(self.order, labels=labels, members=members.copy())
        self._ahead = self._number = None

    def seek(self, number: int) -> None:
        """Stand at batch `number`, counted from 0 since the start of the run. Raises DataError naming a bad file."""
        if number == self._number:
            return
        ahead = self._ahead if self._number is not None and number == self._number + 1 else None
        self._ahead = self._number = None  # ends workers that are at another place, and all of them if reading fails
        if ahead is None:
            ahead = self.part.loaded(self.order.asked_from(number))
        rows, images = next(ahead)
        if self._rows is None or self._images is None:
            size, device = self.order.batch_size, self.part.device
            self._rows = torch.zeros(size, dtype=rows.dtype, device=device)
            self._images = torch.zeros((size, *images.shape[1:]), dtype=images.dtype, device=device)
        for kept, values in ((self._rows, rows), (self._images, images)):
            kept[: len(values)].copy_(ready(values, self.part.device), non_blocking=True)
        self._number, self._ahead = number, ahead

    def current(self) -> Batch:
        """The batch that the stream stands at, from buffers on the device that stay where they are."""
        return self.part.batch_of(self._rows[: self.size], self._images[: self.size])  # type: ignore[index]

    def batch(self, number: int) -> Batch:
        """`seek` and `current`."""
        self.seek(number)
        return self.current()
