"""Check, unpack and download files. A file gets its name only when it is whole and has the expected bytes."""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import lzma
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reweigh.canonical_json import atomic_file
from reweigh.errors import DataError

CHUNK = 1 << 20
DOWNLOAD_CHUNK = 1 << 14
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Expected:
    """What a file must be: its length in bytes, sha256, md5; `None` where it is not known."""

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Found:
    """What a file is. Its md5 is only computed if no sha256 is expected."""

    bytes: int
    sha256: str
    md5: str | None


def measure(path: Path, expected: Expected) -> Found:
    """Length and digests of a file, read once."""
    with open(path, "rb") as file:
        return _pump(file, None, expected)


def fault(found: Found, expected: Expected) -> str | None:
    """What is wrong with a file, e.g. "sha256 is 1f.., expected 9c.."; `None` if it is as expected."""
    for name in ("bytes", "sha256", "md5"):
        wanted, has = getattr(expected, name), getattr(found, name)
        if None not in (wanted, has) and wanted != has:
            return f"{name} is {has}, expected {wanted}"
    return None


def place(source: Path, destination: Path, expected: Expected) -> Found:
    """Unpack `source` to `destination`, if and only if the content is as expected.

    Raises DataError if it is not, or cannot be read; `destination` is then as it was.
    """
    try:
        with unpacked(source, destination.name) as stream:
            return write(stream, destination, expected, str(source))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{source}: cannot be read or written to {destination} ({error})") from None


def write(stream: IO[bytes], destination: Path, expected: Expected, origin: str) -> Found:
    """Write a stream to `destination`, which gets its name only if the content is as expected, else DataError."""
    with atomic_file(destination) as file:
        found = _pump(stream, file, expected)
        if wrong := fault(found, expected):
            raise DataError(f"{origin}: {wrong}")
    return found


def packing(packed: str, name: str) -> str | None:
    """How the file `packed` packs the file `name`: ".gz", ".xz" or ".webp"; `None` if it is not packed."""
    suffix = Path(packed).suffix
    return suffix if suffix in (".gz", ".xz", ".webp") and not name.endswith(suffix) else None


@contextlib.contextmanager
def unpacked(source: Path, name: str) -> Iterator[IO[bytes]]:
    """The content of `source` for the file `name`, unpacked if `source` is its .gz, .xz or .webp."""
    openers: dict[str | None, Any] = {".gz": gzip.open, ".xz": lzma.open, ".webp": _decoded, None: open}
    with openers[packing(source.name, name)](source, "rb") as stream:
        yield stream


def _decoded(source: Path, mode: str) -> IO[bytes]:
    """The images of a mosaic as the bytes of one `.npy` file."""
    from reweigh.data.mosaic import decode

    return io.BytesIO(decode(source))


@contextlib.contextmanager
def opened_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """One file in a .zip or .tar archive, compressed or not. Raises DataError if it is not there."""
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
            raise DataError(f"{archive}: contains no {member}") from None
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{archive}: cannot be read ({error})") from None


def download(url: str, partial: Path, expected: Expected) -> Path:
    """Download `url` to `partial`, resuming an earlier attempt, and check it against `expected`; the path `partial`.

    Each of three attempts resumes where the last one stopped, or starts again if the server cannot resume. An
    incomplete file stays for the next call; a complete one with the wrong bytes is removed. Raises DataError.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    trouble = "nothing was tried"
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_SECONDS * attempt)
        had = partial.stat().st_size if partial.exists() else 0
        if problem := _receive(url, partial, expected):
            trouble = problem
            continue
        found = measure(partial, expected)
        if expected.bytes is not None and found.bytes < expected.bytes:
            trouble = f"the connection ended after {found.bytes} of {expected.bytes} bytes"
            continue
        if not (wrong := fault(found, expected)):
            return partial
        partial.unlink()
        trouble = wrong
        if not had:
            break
    raise DataError(f"{url}: {trouble}")


def _receive(url: str, partial: Path, expected: Expected) -> str | None:
    """One request for the missing part of `partial`. Returns what went wrong, if another attempt may succeed.

    Raises DataError if none can: the server has no such file, or the library for downloads is not installed.
    """
    try:
        import pooch
        import requests
    except ModuleNotFoundError as error:
        raise DataError(f"{url}: downloading needs {error.name}; install it with: pip install pooch tqdm") from None

    def begin_again(response: requests.Response, *args: object, **kwargs: object) -> None:
        if response.status_code == 200:
            file.truncate(0)

    with open(partial, "ab") as file:
        have = file.tell()
        if expected.bytes is not None and have >= expected.bytes:
            return None
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        receive = pooch.HTTPDownloader(
            progressbar=_progress_bar(),
            chunk_size=DOWNLOAD_CHUNK,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            hooks={"response": begin_again},
        )
        try:
            receive(url, file, None)
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if status == 416:
                return None
            if file.tell() == 0:
                partial.unlink()
            if status is not None and 400 <= status < 500:
                raise DataError(f"{url}: {_brief(error)}") from None
            return _brief(error)
    return None


def _progress_bar() -> bool:
    """Whether to show a progress bar: on a terminal, if tqdm is installed."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def _brief(error: Exception) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def _pump(stream: IO[bytes], file: IO[bytes] | None, expected: Expected) -> Found:
    """Read a stream to its end, copy it to `file` if there is one, and count and hash its bytes."""
    length, sha256 = 0, hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False) if expected.sha256 is None else None
    while chunk := stream.read(CHUNK):
        length += len(chunk)
        sha256.update(chunk)
        if md5 is not None:
            md5.update(chunk)
        if file is not None:
            file.write(chunk)
    return Found(length, sha256.hexdigest(), md5.hexdigest() if md5 else None)
