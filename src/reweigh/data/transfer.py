"""Check and unpack files. A file gets its name only when it is whole and has the expected bytes.

What is wrong with a source is a DataError, and another source may do better. What is wrong with the disk that is
written to stays an OSError: no other source would help. No more is unpacked or copied than was promised: one byte more
shows that a source has another file, or one made to fill the disk.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reweigh.canonical_json import atomic_file
from reweigh.errors import DataError
from reweigh.terminal import printable

CHUNK = 1 << 20
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)  # what reading a damaged or forbidden source raises


@dataclass(frozen=True)
class Expected:
    """What a file must be: its length in bytes, sha256, md5; `None` where it is not known.

    `most` is what a file whose length is not known has at most, as the packed form of one whose length is.
    """

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    most: int | None = None

    @property
    def limit(self) -> int | None:
        """The most bytes that it can have; None if nothing says."""
        return self.most if self.bytes is None else self.bytes

    @property
    def packed(self) -> "Expected":
        """What is known of the same content packed by somebody: no packer makes it longer by an eighth."""
        return Expected(most=None if self.limit is None else self.limit + self.limit // 8 + CHUNK)


@dataclass(frozen=True)
class Found:
    """What a file is. Its md5 is only computed if no sha256 is expected. One that is too long is not read."""

    bytes: int
    sha256: str
    md5: str | None


def measure(path: Path, expected: Expected) -> Found:
    """Length and digests of a file, read once; not if it is longer than expected. DataError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if expected.limit is not None and length > expected.limit:
                return Found(length, "", None)
            return _pump(file, None, expected, printable(path))
    except OSError as error:
        raise unreadable(path, error) from None


def fault(found: Found, expected: Expected) -> str | None:
    """What is wrong with a file, e.g. "sha256 is 1f.., expected 9c.."; `None` if it is as expected."""
    for name in ("bytes", "sha256", "md5"):
        wanted, has = getattr(expected, name), getattr(found, name)
        if None not in (wanted, has) and wanted != has:
            return f"{name} is {has}, expected {wanted}"
    if expected.limit is not None and found.bytes > expected.limit:
        return f"bytes is {found.bytes}, expected {expected.limit} at most"
    return None


def place(source: Path, destination: Path, expected: Expected) -> Found:
    """Unpack `source` to `destination`, if and only if the content is as expected.

    Raises DataError if it is not, or cannot be read, OSError if `destination` cannot be written; it is then as it was.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(unpacked(source, destination.name, expected.limit))
        except UNREADABLE as error:
            raise unreadable(source, error) from None
        return write(stream, destination, expected, printable(source))


def write(stream: IO[bytes], destination: Path, expected: Expected, origin: str) -> Found:
    """Write a stream to `destination`, which gets its name only if the content is as expected, else DataError.

    Raises DataError if the stream, which comes from `origin`, cannot be read, OSError if nothing can be written.
    """
    with atomic_file(destination) as file:
        found = _pump(stream, file, expected, origin)
        if wrong := fault(found, expected):
            raise DataError(f"{origin}: {wrong}")
    return found


def packing(packed: str, name: str) -> str | None:
    """How the file `packed` packs the file `name`: ".gz", ".xz" or ".webp"; `None` if it is not packed."""
    suffix = Path(packed).suffix
    return suffix if suffix in (".gz", ".xz", ".webp") and not name.endswith(suffix) else None


@contextlib.contextmanager
def unpacked(source: Path, name: str, most: int | None = None) -> Iterator[IO[bytes]]:
    """The content of `source` for the file `name`, unpacked if `source` is its .gz, .xz or .webp.

    Of a .webp, which is decoded as a whole, DataError if that would be more than `most` bytes.
    """
    decoded = functools.partial(_decoded, most=most)
    openers: dict[str | None, Any] = {".gz": gzip.open, ".xz": lzma.open, ".webp": decoded, None: open}
    with openers[packing(source.name, name)](source, "rb") as stream:
        yield stream


def _decoded(source: Path, mode: str, most: int | None) -> IO[bytes]:
    """The images of a mosaic as the bytes of one `.npy` file."""
    from reweigh.data.mosaic import decode

    return io.BytesIO(decode(source, most))


@contextlib.contextmanager
def opened_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """One file in a .zip or .tar archive, compressed or not. Raises DataError if it is not there or cannot be read."""
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] | None
        try:
            if zipfile.is_zipfile(archive):
                stream = stack.enter_context(zipfile.ZipFile(archive)).open(member)
            elif (stream := stack.enter_context(tarfile.open(archive)).extractfile(member)) is None:
                raise KeyError(member)
            stack.enter_context(stream)
        except KeyError:
            raise DataError(f"{printable(archive)}: contains no {member}") from None
        except (tarfile.TarError, zipfile.BadZipFile, *UNREADABLE) as error:
            raise unreadable(archive, error) from None
        yield stream


def unreadable(source: Path | str, error: Exception) -> DataError:
    """What is said of a source that cannot be read."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return DataError(f"{printable(source)}: cannot be read ({why or type(error).__name__})")


def _pump(stream: IO[bytes], file: IO[bytes] | None, expected: Expected, origin: str) -> Found:
    """Read a stream to its end, copy it to `file` if there is one, and count and hash its bytes.

    Raises DataError as soon as it has one byte more than what is expected can have.
    """
    length, sha256 = 0, hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False) if expected.sha256 is None else None
    while chunk := _read(stream, origin, CHUNK if expected.limit is None else min(CHUNK, expected.limit + 1 - length)):
        length += len(chunk)
        if expected.limit is not None and length > expected.limit:
            raise DataError(f"{origin}: has more than the {expected.limit} bytes that it should have")
        sha256.update(chunk)
        if md5 is not None:
            md5.update(chunk)
        if file is not None:
            file.write(chunk)
    return Found(length, sha256.hexdigest(), md5.hexdigest() if md5 else None)


def _read(stream: IO[bytes], origin: str, count: int) -> bytes:
    try:
        return stream.read(count)
    except (tarfile.TarError, zipfile.BadZipFile, *UNREADABLE) as error:
        raise unreadable(origin, error) from None
