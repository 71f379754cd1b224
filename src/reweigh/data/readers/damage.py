"""How readers turn damaged files into one line: text, tables and arrays, read without trust in what is there.

A file whose digest is known was checked before a reader sees it; readers do not rely on it. What still reads as valid
content (a pixel that flipped) is for the digests to find.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from reweigh.errors import DataError, ReweighError

AGAIN = "delete it and fetch it again"
ZIP = b"PK\x03\x04"  # how an archive begins; zipfile reads one that stands behind other bytes too


@contextmanager
def refused(path: Path, what: str, do: str = AGAIN) -> Iterator[None]:
    """Whatever goes wrong within is a DataError: `path` is not `what`; `do` says what to do about it.

    Decoders of damaged bytes answer with anything: ValueError, KeyError, struct.error, zlib.error, OverflowError ...
    """
    try:
        yield
    except ReweighError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: not {what} ({reason}); {do}") from None


def text(path: Path, do: str = AGAIN) -> str:
    """A text file, as UTF-8 without a byte-order mark. Raises DataError if it is anything else."""
    with refused(path, "text that can be read", do):
        content = path.read_bytes().decode("utf-8")
    for mark, name in (("\ufeff", "a byte-order mark"), ("\0", "a zero byte")):
        if mark in content:
            raise DataError(f"{path}: has {name} in it; save it as UTF-8 without, or {do}")
    return content


def table(path: Path, columns: Sequence[str], do: str = AGAIN) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises DataError if it has not got `columns` in every row."""
    what = f"a table with the columns {', '.join(columns)}"
    with refused(path, what, do):
        rows = list(csv.DictReader(io.StringIO(text(path, do), newline="")))
    if not rows or any(row.get(column) is None for row in rows for column in columns):
        raise DataError(f"{path}: not {what}; {do}")
    return rows


def whole_numbers(values: Sequence[object], path: Path, below: int | None = None, do: str = AGAIN) -> np.ndarray:
    """Values as int64, from 0 to less than `below` if it is given. Raises DataError naming the file for any other."""
    with refused(path, "a file of whole numbers where they should be", do):
        numbers = np.array([int(value) for value in values], np.int64)  # type: ignore[call-overload]
    if below is not None and len(wrong := numbers[(numbers < 0) | (numbers >= below)]):
        raise DataError(f"{path}: has {wrong[0]}, which is not one of the {below} that are counted from 0; {do}")
    return numbers


def array(path: Path, inner: tuple[int, ...], kinds: Sequence[str] = ("|u1",)) -> np.ndarray:
    """The array `(N, *inner)` of an `.npy` file, of one of the types `kinds`. Raises DataError if it is anything else.

    The header is checked against the size of the file before anything is allocated for it.
    """
    what = f"an array of shape (N{''.join(f', {side}' for side in inner)})"
    with refused(path, what), open(path, "rb") as file:
        shape, kind, _ = _header(file, inner, kinds, path.stat().st_size)
        return np.fromfile(file, kind, math.prod(shape)).reshape(shape)


def arrays(path: Path, inner: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, np.ndarray]:
    """Arrays `(N, *inner)` of an uncompressed `.npz` file: name -> shape of a row, type. DataError if it has not these.

    Their rows may lie column by column, as they pack best. Nothing is allocated that the file is too small for.
    """
    found = {}
    with refused(path, f"arrays named {', '.join(inner)}"), open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        file.seek(0)
        if file.read(len(ZIP)) != ZIP:
            raise ValueError("something stands before the archive")
        for name, (row, kind_of) in inner.items():
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > path.stat().st_size:
                raise ValueError(f"{name} is compressed, or larger than the file")
            with archive.open(info) as member:
                shape, kind, fortran = _header(member, row, (kind_of,), info.file_size, fortran_too=True)
                content = member.read()
            flat = np.frombuffer(content, kind)
            found[name] = np.ascontiguousarray(flat.reshape(shape, order="F" if fortran else "C"))
    return found


def _header(
    file: IO[bytes], inner: tuple[int, ...], kinds: Sequence[str], size: int, fortran_too: bool = False
) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and order by the header of an `.npy` of `size` bytes. Raises ValueError if it is another array."""
    np.lib.format.read_magic(file)
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    if (fortran and not fortran_too) or kind.str not in kinds or shape[1:] != inner:
        raise ValueError(f"it says {kind.str} {shape}")
    if size - file.tell() != math.prod(shape) * kind.itemsize:
        raise ValueError(f"it has the wrong length for {shape}")
    return shape, kind, fortran
