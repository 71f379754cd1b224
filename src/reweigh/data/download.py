"""Downloads, resumed where they were cut. On disk are the bytes of the file, however a server packs its answer."""

import gzip
import importlib.util
import os
import re
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from reweigh.canonical_json import put_in_place
from reweigh.data.transfer import CHUNK, Expected, fault, measure
from reweigh.errors import DataError
from reweigh.terminal import printable

DOWNLOAD_CHUNK = 1 << 14
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 60.0  # a server that asks to be left alone for longer is left alone, and another source is tried
LATER = (408, 425, 429)  # of the answers 4xx those that say: ask again
GZIP = ("gzip", "x-gzip")


def shown(url: str) -> str:
    """A URL as it may be printed and kept: in one line, without a user and a password.

    >>> shown("https://me:secret@host/a.gz")
    'https://***@host/a.gz'
    """
    return printable(re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s]*@", r"\1***@", url))


@dataclass
class Answer:
    """What a server said so far: how it packs what it sends, its tag of this version, why another attempt is needed."""

    packed: bool = False
    page: bool = False  # a web page, where a file was asked for
    tag: str = ""
    trouble: str = "nothing was tried"
    pause: float = 0.0  # seconds that it asks to wait
    endless: bool = False  # it sends more than there should be, which was not received
    headers: Mapping[str, str] = field(default_factory=dict)

    def take(self, response: Any) -> None:
        """Note what an answer says of itself. Its body is then left as it is sent, packed or not."""
        self.headers = response.headers
        self.packed = response.headers.get("Content-Encoding", "").strip().lower() in GZIP
        self.page = response.headers.get("Content-Type", "").startswith("text/html")
        tag = response.headers.get("ETag", "")
        self.tag = "" if tag.startswith("W/") else tag
        if self.packed:  # else requests unpacks: a .gz by mistake, and no part of a file that is asked for
            response.raw.headers.pop("Content-Encoding", None)


class _Enough(Exception):
    """One byte more has come than there should be."""


class _Limited:
    """A file that is written to, until it would have more than `most` bytes: one more is kept, and shows it."""

    def __init__(self, file: IO[bytes], most: int | None) -> None:
        self.file, self.most, self.length = file, most, file.tell()

    def write(self, chunk: bytes) -> int:
        """Write what there is room for. Raises _Enough if that is not all."""
        if self.most is not None and self.length + len(chunk) > self.most:
            self.file.write(chunk[: self.most + 1 - self.length])
            raise _Enough
        self.length += len(chunk)
        return self.file.write(chunk)

    def again(self, most: int | None) -> None:
        """Begin with an empty file."""
        self.file.truncate(0)
        self.length, self.most = 0, most

    def flush(self) -> None:
        """As the file's own."""
        self.file.flush()


def download(url: str, partial: Path, expected: Expected) -> Path:
    """Download `url` to `partial`, resuming an earlier attempt, and check it against `expected`; the path `partial`.

    Each of three attempts resumes where the last one stopped, or starts again if the server cannot resume or has
    another file now. An incomplete file stays for the next call; a complete one with the wrong bytes is removed, and so
    is one with more bytes than expected, of which no more than one is received. Raises DataError, in one line, if this
    source fails, OSError if the disk cannot be written.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    answer = Answer()
    for attempt in range(ATTEMPTS):
        time.sleep(max(PAUSE_SECONDS * attempt, answer.pause))
        answer.pause, answer.endless = 0.0, False
        had = partial.stat().st_size if partial.exists() else 0
        if _receive(url, partial, expected, answer):
            found = measure(partial, expected)
            wrong = fault(found, expected)
            if answer.endless:
                wrong = f"it sends more than the {expected.limit} bytes that there should be"
            nothing_tells = expected == Expected(most=expected.most) and not partial.name.endswith(".gz")
            if answer.packed and (wrong or nothing_tells) and not answer.endless:
                wrong = _unpack(partial, expected)
            if wrong is None:
                return partial
            if answer.page and not had:
                partial.unlink()
                raise DataError(
                    f"{shown(url)}: it sent a web page and no file ({wrong}); does this network want you to log in?"
                )
            if expected.bytes is not None and found.bytes < expected.bytes and not answer.packed and not answer.page:
                answer.trouble = f"the connection ended after {found.bytes} of {expected.bytes} bytes"
                continue
            partial.unlink()
            answer.trouble = wrong
            if not had:
                break
    raise DataError(f"{shown(url)}: {answer.trouble}")


def _receive(url: str, partial: Path, expected: Expected, answer: Answer) -> bool:
    """One request for the missing part of `partial`; whether it was answered in full. If not, `answer` says why.

    Raises DataError if no other attempt can succeed: the server has no such file, or a library is not installed.
    """
    try:
        import pooch
        import requests
    except ModuleNotFoundError as error:
        raise DataError(f"{shown(url)}: downloading needs {error.name}; install it: pip install pooch tqdm") from None

    def begin(response: requests.Response, *args: object, **kwargs: object) -> None:
        answer.take(response)
        if response.status_code == 200:
            written.again(expected.packed.limit if answer.packed else expected.limit)

    with open(partial, "ab") as file:
        have, written = file.tell(), _Limited(file, expected.limit)
        if expected.bytes is not None and have >= expected.bytes:
            return True
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-"} | ({"If-Range": answer.tag} if answer.tag else {})
        receive = pooch.HTTPDownloader(
            progressbar=_progress_bar(),
            chunk_size=DOWNLOAD_CHUNK,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            hooks={"response": begin},
        )
        try:
            receive(url, written, None)
        except _Enough:
            answer.endless = True
        except requests.RequestException as error:
            return _is_all(error, url, partial, have, expected, answer)
    return True


def _is_all(error: Any, url: str, partial: Path, have: int, expected: Expected, answer: Answer) -> bool:
    """Whether a request that failed says that all is there already. If not, `answer` says why another may succeed.

    Raises DataError if none can.
    """
    status = error.response.status_code if error.response is not None else None
    if status == 416:
        if expected.bytes is None:
            return True
        os.truncate(partial, 0)  # it has another file now, which is shorter
        answer.trouble = f"the server has no more than {have} of {expected.bytes} bytes"
        return False
    if partial.stat().st_size == 0:
        partial.unlink()
    answer.trouble = _brief(error)
    asked = _asked_pause(error.response.headers.get("Retry-After")) if status in (*LATER, 503) else 0.0
    if asked > PATIENCE_SECONDS:
        raise DataError(f"{shown(url)}: {answer.trouble}; it asks to come again in {asked:.0f} s")
    answer.pause = asked
    if status is not None and 300 <= status < 500 and status not in LATER:
        raise DataError(f"{shown(url)}: {answer.trouble}")
    return False


def _asked_pause(text: str | None) -> float:
    """The seconds of a header Retry-After; 0 where it is absent or a date that is over."""
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, float(text or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text or "").timestamp() - time.time())
    except ValueError:
        return 0.0


def _unpack(partial: Path, expected: Expected) -> str | None:
    """Unpack what a server packed of itself, in place; what is wrong with the content, None if nothing is."""
    plain = partial.with_name(f"{partial.name}.plain")
    try:
        with open(plain, "wb") as file:
            written = _Limited(file, expected.limit)
            try:
                for chunk in _chunks(partial):
                    written.write(chunk)
            except _Enough:
                return f"unpacked it has more than the {expected.limit} bytes that there should be"
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                return f"the server says that it packed it as gzip, which it is not ({error})"
        if wrong := fault(measure(plain, expected), expected):
            return wrong
        put_in_place(plain, partial)
        return None
    finally:
        plain.unlink(missing_ok=True)


def _chunks(packed: Path) -> Iterator[bytes]:
    with gzip.open(packed, "rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _progress_bar() -> bool:
    """Whether to show a progress bar: on a terminal, if tqdm is installed."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def _brief(error: Exception) -> str:
    """An exception in one short line, without passwords."""
    text = shown(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
