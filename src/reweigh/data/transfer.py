"""Moving bytes: check them, unpack them, download them; a file appears under its name only when it is whole and right."""

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reweigh.errors import DataError

CHUNK = 1 << 20
ATTEMPTS = 3
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Expected:
    """What a file must be: its length in bytes, sha256, md5; `None` where nobody knows it."""

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Found:
    """What a file is."""

    bytes: int
    sha256: str
    md5: str


def measure(path: Path) -> Found:
    """Length and digests of a file, by one pass over it."""
    with open(path, "rb") as file:
        return _pump(file, None)


def fault(found: Found, expected: Expected) -> str | None:
    """What is wrong with a file, e.g. "sha256 is 1f.., expected 9c.."; `None` if it is as expected."""
    for name in ("bytes", "sha256", "md5"):
        wanted, has = getattr(expected, name), getattr(found, name)
        if wanted is not None and wanted != has:
            return f"{name} is {has}, expected {wanted}"
    return None


def place(source: Path, destination: Path, expected: Expected) -> Found:
    """Unpack `source` into `destination`, if and only if the content is as expected.

    Raises DataError if it is not, or cannot be read; `destination` is then as it was.
    """
    try:
        with unpacked(source, destination.name) as stream:
            return write(stream, destination, expected, str(source))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{source}: cannot be read ({error})") from None


def write(stream: IO[bytes], destination: Path, expected: Expected, origin: str) -> Found:
    """Write a stream to `destination` through a temporary file beside it, checked before it gets its name."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            found = _pump(stream, file)
            file.flush()
            os.fsync(file.fileno())
        if wrong := fault(found, expected):
            raise DataError(f"{origin}: {wrong}")
        os.replace(partial, destination)
    finally:
        partial.unlink(missing_ok=True)
    return found


def packing(packed: str, name: str) -> str | None:
    """How a file called `packed` packs the file called `name`: ".gz", ".xz" or ".webp"; `None` if it is that file itself."""
    suffix = Path(packed).suffix
    return suffix if suffix in (".gz", ".xz", ".webp") and not name.endswith(suffix) else None


@contextlib.contextmanager
def unpacked(source: Path, name: str) -> Iterator[IO[bytes]]:
    """The content of `source` as it should lie under `name`: what is packed as .gz, .xz or .webp comes out unpacked."""
    openers = {".gz": gzip.open, ".xz": lzma.open, ".webp": _decoded, None: open}
    with openers[packing(source.name, name)](source, "rb") as stream:
        yield stream


def _decoded(source: Path, mode: str) -> IO[bytes]:
    """The images of a mosaic as the bytes of one `.npy` file."""
    from reweigh.data.mosaic import decode

    return io.BytesIO(decode(source))


@contextlib.contextmanager
def opened_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """One file inside a .zip or .tar archive, packed or not. Raises DataError if it is not there."""
    with contextlib.ExitStack() as stack:
        try:
            if zipfile.is_zipfile(archive):
                yield stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(member))
            else:
                stream = stack.enter_context(tarfile.open(archive)).extractfile(member)
                if stream is None:
                    raise KeyError(member)
                yield stack.enter_context(stream)
        except KeyError:
            raise DataError(f"{archive}: holds no {member}") from None
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise DataError(f"{archive}: cannot be read ({error})") from None


def download(url: str, partial: Path, expected: Expected) -> Path:
    """Download `url` to `partial`, going on where an earlier attempt was cut, and check it against `expected`.

    Three attempts, each going on where the last one stopped; a server that cannot resume sends the whole again. What was
    received stays in `partial` for the next time, unless it is complete and wrong, which removes it. Raises DataError.
    """
    import pooch
    import requests

    partial.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(ATTEMPTS):
        if expected.bytes is not None and partial.exists() and partial.stat().st_size >= expected.bytes:
            break
        try:
            with open(partial, "ab") as file:
                _receive(pooch.HTTPDownloader, url, file)
            break
        except requests.RequestException as error:
            reply = error.response
            if reply is not None and reply.status_code == 416:
                break
            if attempt == ATTEMPTS - 1 or (reply is not None and reply.status_code < 500):
                raise DataError(f"{url}: {_brief(error)}") from None
    if wrong := fault(measure(partial), expected):
        partial.unlink()
        raise DataError(f"{url}: {wrong}")
    return partial


def _receive(downloader: type, url: str, file: IO[bytes]) -> None:
    """One request for what is still missing from `file`; a reply that begins at the beginning empties it first."""

    def begin_again(response, *args, **kwargs):
        if response.status_code == 200:
            file.truncate(0)

    have = file.tell()
    options = {"headers": {"Range": f"bytes={have}-"}} if have else {}
    bar = _progress_bar(url)
    downloader(progressbar=bar, timeout=TIMEOUT_SECONDS, hooks={"response": begin_again}, **options)(url, file, None)


def _progress_bar(url: str) -> bool:
    """Whether a progress bar can be drawn: tqdm is there, and someone sits at a terminal."""
    import importlib.util
    import sys

    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def _brief(error: Exception) -> str:
    """An exception in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _pump(stream: IO[bytes], file: IO[bytes] | None) -> Found:
    """Read a stream to its end, into `file` if there is one, counting and hashing on the way."""
    length, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(CHUNK):
        length += len(chunk)
        sha256.update(chunk)
        md5.update(chunk)
        if file is not None:
            file.write(chunk)
    return Found(length, sha256.hexdigest(), md5.hexdigest())
