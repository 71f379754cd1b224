"""Files of arrays (`.npz`) that say how much they unpack to: checked before anything is unpacked or room is made.

`zipfile` reads no more of an entry than the archive says of it, so what the archive says is what counts. numpy makes
room for as many values as the header of an array says, however few there are.
"""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

HEADER = 1 << 16  # bytes of an array's header, at most
WIDEST = 16  # bytes of a number


@contextlib.contextmanager
def damage_told() -> Iterator[None]:
    """Within this context damaged bytes are a ValueError, whatever reads them.

    Each library that reads them has errors of its own: zipfile, zlib, struct, NumPy. Errors of the disk and want of
    memory are none of the file and stay what they are.
    """
    try:
        yield
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"it is damaged, or no archive of arrays ({error})") from None


def read(file: str | os.PathLike[str], most: int) -> dict[str, np.ndarray]:
    """The arrays in an `.npz`, checked before they are unpacked. Raises ValueError as `check` does, and for damage."""
    check(file, most)
    with damage_told(), np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def check(file: str | os.PathLike[str] | bytes, most: int) -> None:
    """Raise ValueError for an `.npz` with more than `most` bytes of arrays, or with one that is not as long as it says.

    Also for a file that is no archive.

    >>> check(b"PK", most=8)
    Traceback (most recent call last):
    ValueError: it is damaged, or no archive of arrays (File is not a zip file)
    """
    with damage_told():
        _check(file, most)


def _check(file: str | os.PathLike[str] | bytes, most: int) -> None:
    with zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > most + HEADER * len(entries):
            raise ValueError(f"it unpacks to {total} bytes, and should to {most} at most")
        for entry in entries:
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(member)
                room = math.prod(shape) * kind.itemsize
                if kind.hasobject or room != entry.file_size - member.tell():
                    raise ValueError(f"{entry.filename} says that it is {kind.str} {shape}, and is not as long")


def room_of(shapes: Mapping[str, Any]) -> int:
    """The most bytes that arrays of these shapes take: name -> list of sizes. Raises ValueError if they are none.

    >>> room_of({"class_weights": [100, 10]})
    16000
    """
    sides = [side for shape in shapes.values() for side in shape]
    if not all(type(side) is int and side >= 0 for side in sides):
        raise ValueError(f"shapes {str(dict(shapes))[:40]}")
    return sum(WIDEST * math.prod(shape) for shape in shapes.values())
