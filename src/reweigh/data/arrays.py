"""What readers return and what splits are: plain arrays with names."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reweigh.errors import DataError

PARTS = ("train", "target", "validation", "test")
FIELDS = {"index": np.int32, "label": np.int64, "group": np.int64}


class InputsOnDisk(Protocol):
    """Inputs that are too many for a device: they make the parts of a split themselves (see `reweigh.data.batches`)."""

    def __len__(self) -> int: ...

    def part(self, part: "Part", data: Mapping[str, Any], device: Any, train: bool, layout: str) -> Any:
        """A part of a split that streams its batches; `data` is the data block of a spec."""


@dataclass(frozen=True)
class RawData:
    """A whole data set as its reader found it; row i of an array is example i of the official order.

    Inputs are images `(N, C, H, W)` uint8 or features `(N, F)` float32, or stay on disk; labels and groups are int64
    `(N,)`, counted from 0.
    """

    train_inputs: np.ndarray | InputsOnDisk
    train_labels: np.ndarray
    test_inputs: np.ndarray | InputsOnDisk
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    train_groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    edition: str = "official"
    train_clean_labels: np.ndarray | None = None  # where `train_labels` are wrong by themselves and the true are known

    @property
    def has_groups(self) -> bool:
        """Whether every example belongs to a group of the data set's own, such as a sex."""
        return self.train_groups is not None and self.test_groups is not None


@dataclass(frozen=True)
class Part:
    """One part of a split: which examples (`index` int32 into the official train or test part), and what they count as.

    `label` int64 is the class that a model is trained on; `group` int64 is what weights and fairness are about.
    """

    index: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def joined(self, other: "Part") -> "Part":
        """The examples of this part, then those of another."""
        return Part(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in FIELDS))


@dataclass(frozen=True)
class Split:
    """What one (experiment, setting, seed) draws from raw data.

    `train`, `target` and `validation` index the official training part, `test` the official test part.
    """

    train: Part
    target: Part
    validation: Part
    test: Part
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]

    @property
    def class_counts(self) -> np.ndarray:
        """Training examples of each class, int64 `(classes,)`."""
        return np.bincount(self.train.label, minlength=len(self.class_names))

    @property
    def group_counts(self) -> np.ndarray:
        """Training examples of each group, int64 `(groups,)`."""
        return np.bincount(self.train.group, minlength=len(self.group_names))

    @property
    def missing(self) -> list[str]:
        """The classes and groups without training examples: noise, or a group that is only tested on, leaves some."""
        counted = zip((self.class_names, self.group_names), (self.class_counts, self.group_counts), strict=True)
        names = [name for known, counts in counted for name, count in zip(known, counts, strict=True) if not count]
        return list(dict.fromkeys(names))

    def sizes(self) -> dict[str, list[int]]:
        """Examples of each class in each part: `{"train": [4975, 24], "target": [25, 25], ...}`."""
        width = len(self.class_names)
        return {part: np.bincount(getattr(self, part).label, minlength=width).tolist() for part in PARTS}

    def group_sizes(self) -> dict[str, list[int]]:
        """Examples of each group in each part."""
        width = len(self.group_names)
        return {part: np.bincount(getattr(self, part).group, minlength=width).tolist() for part in PARTS}

    def digest(self) -> str:
        """sha256 of the names, types, shapes and little-endian bytes of all arrays."""
        total = hashlib.sha256("/".join((*self.class_names, "", *self.group_names)).encode())
        for name, array in _arrays(self).items():
            total.update(f"{name} {array.dtype.str} {array.shape}".encode())
            total.update(array.tobytes())
        return total.hexdigest()

    def to_bytes(self) -> bytes:
        """The split as an `.npz` whose bytes depend on nothing but its content."""
        names = {"class_names": np.array(self.class_names, "<U"), "group_names": np.array(self.group_names, "<U")}
        return npz_bytes({**_arrays(self), **names})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Split":
        """The split that `to_bytes` wrote. Raises ValueError if the content is something else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                parts = {
                    part: Part(*(arrays[f"{part}_{field}"].astype(kind) for field, kind in FIELDS.items()))
                    for part in PARTS
                }
                classes, groups = (tuple(arrays[f"{what}_names"].tolist()) for what in ("class", "group"))
        except (
            Exception
        ) as error:  # damaged bytes end in BadZipFile, zlib.error, struct.error, KeyError, SyntaxError ...
            raise ValueError(f"not a split ({error!r})") from None
        return cls(**parts, class_names=classes, group_names=groups)


def _arrays(split: Split) -> dict[str, np.ndarray]:
    """The arrays of a split as they are stored: index int32, label and group int16, little-endian."""
    stored = {"index": "<i4", "label": "<i2", "group": "<i2"}
    return {
        f"{part}_{field}": np.ascontiguousarray(getattr(getattr(split, part), field), kind)
        for part in PARTS
        for field, kind in stored.items()
    }


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as an `.npz` whose bytes depend on nothing but names, order and content (deflated, fixed time stamps)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue(), zipfile.ZIP_DEFLATED
            )
    return stream.getvalue()


def raw_file(raw: Path, name: str) -> Path:
    """The file `name` of a fetched data set. Raises DataError that names the command that provides it."""
    path = Path(raw) / name
    if not path.is_file():
        raise DataError(f"{path} is missing; get it with: reweigh fetch {Path(raw).name}")
    return path
