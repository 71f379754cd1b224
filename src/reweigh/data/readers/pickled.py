"""The pickles of the CIFAR archives and of CIFAR-N, read without running what a pickle could run.

The reader of pickles is the standard library's in pure Python: where a damaged byte makes the one in C ask for the
memory of a billion entries, this one asks for a dictionary with one. And numpy's arrays are put together here, from a
shape, a type and bytes that fit together: numpy itself would believe what a damaged pickle says of them.
"""

import math
import mmap
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from reweigh.data.readers.damage import AGAIN, refused, whole_numbers
from reweigh.errors import DataError

PIXELS = 3 * 32 * 32


class _Kind:
    """numpy.dtype as a pickle builds it: of whole numbers, or it is refused."""

    def __init__(self, name: str, *rest: Any) -> None:
        self.kind = np.dtype(name)
        if self.kind.kind not in "iu":
            raise pickle.UnpicklingError(f"an array of {self.kind}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.kind = self.kind.newbyteorder(state[1])


class _Array:
    """numpy.ndarray as a pickle builds it; `values` is the array."""

    def __init__(self, *begun: Any) -> None:
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if not all(isinstance(side, int) and side >= 0 for side in shape) or fortran:
            raise pickle.UnpicklingError(f"an array of shape {shape}")
        if len(content) != math.prod(shape) * kind.kind.itemsize:
            raise pickle.UnpicklingError(f"{len(content)} bytes for an array of shape {shape}")
        self.values = np.frombuffer(content, kind.kind).reshape(shape)


def _encoded(text: str, encoding: str) -> bytes:
    """_codecs.encode, by which pickles of old protocols write bytes."""
    return text.encode(encoding)


KNOWN = {"_reconstruct": _Array, "ndarray": np.ndarray, "dtype": _Kind, "encode": _encoded}


class _Plain(pickle._Unpickler):
    """Knows plain values and numpy arrays, and refuses every other name."""

    # Without the one operation that makes room before it reads.
    dispatch: ClassVar = {code: act for code, act in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in KNOWN:
            return KNOWN[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def load(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of arrays, lists and strings. Raises DataError if it is anything else."""
    # A mapped file gives the bytes that there are; a plain one first finds memory for as many as it is asked for.
    with (
        refused(path, "a batch of CIFAR"),
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        return _dictionary(mapped)


def load_saved(path: Path) -> dict[str, Any]:
    """The dictionary of numpy arrays that `torch.save` wrote. Raises DataError if it is anything else."""
    with refused(path, "a dictionary of arrays saved by torch"), zipfile.ZipFile(path) as archive:
        if path.stat().st_size and archive.infolist()[0].header_offset:
            raise ValueError("something stands before it")
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(name) as file:
            return _dictionary(file)


def images(path: Path, labels: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(N, 3, 32, 32)` and labels int64 `(N,)` of a batch of CIFAR, whose labels are called `labels`.

    Raises DataError if it is anything else, with fewer or other labels.
    """
    batch = load(path)
    data, given = batch.get("data"), batch.get(labels)
    fits = isinstance(data, np.ndarray) and isinstance(given, list) and data.shape == (len(given), PIXELS)
    if not fits or data.dtype != np.uint8 or not given:  # type: ignore[union-attr]
        raise DataError(f"{path}: not images of 32 x 32 pixels with {labels}; {AGAIN}")
    return data.reshape(-1, 3, 32, 32), whole_numbers(given, path, below=classes)  # type: ignore[union-attr]


def _dictionary(file: Any) -> dict[str, Any]:
    found = _Plain(file, encoding="latin1").load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"it holds a {type(found).__name__}")
    return {name: value.values if isinstance(value, _Array) else value for name, value in found.items()}
