"""What has to come home from a machine that is lent: the log and the new records, in archives of a limited size."""

import contextlib
import io
import itertools
import math
import re
import tarfile
import time
from pathlib import Path

from reweigh import canonical_json
from reweigh.listing import visible
from reweigh.records.record import stamp
from reweigh.training.gpu_check.report import complain

PART_BYTES = 12 * 2**20  # of the files in an archive, before they are compressed
EVERY_SECONDS = 30.0
RESULTS = Path("results")
ARCHIVE = re.compile(r"gpu-check-(\d+)\.tar\.gz")


class Homeward:
    """Archives `gpu-check-N.tar.gz` in a folder, rewritten as records are added, so that a kill loses half a minute.

    They are numbered onwards from those that are there, which stay as they are: an earlier call wrote them.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.before = {path: stamp(path) for path in _results()}
        self.tried = -math.inf
        self.path: Path | None = None  # of the present archive
        self.bytes = 0
        self.files: list[Path] = []  # of the present archive
        self.seen: set[Path] = set()  # of all archives
        self.content: object = None  # what the present archive was last made of

    def update(self, now: bool = False) -> None:
        """Write the archive again, if the last time is a while ago. Where that fails, say so, and go on checking."""
        if not now and time.monotonic() - self.tried < EVERY_SECONDS:
            return
        self.tried = time.monotonic()
        try:
            self._update()
        except OSError as error:
            complain(f"{self.folder}: no archive could be written: {error.strerror or error}")

    def _update(self) -> None:
        for path in self._new():
            if path in self.seen:
                continue
            size = path.stat().st_size
            if self.files and self.bytes + size > PART_BYTES:
                self._write()
                self.path, self.bytes, self.files = None, 0, []
            self.files.append(path)
            self.seen.add(path)
            self.bytes += size
        self._write()

    def _write(self) -> None:
        self.path = self.path or _claimed(self.folder)
        content = (self.path, [*self.files], stamp(self.log), self.log.is_file() and self.log.stat().st_size)
        if content != self.content:
            canonical_json.write(self.path, archive([self.log, *self.files]))
            self.content = content

    def _new(self) -> list[Path]:
        """Records and their traces that were written since the beginning. The clock of the disk may be another."""
        return sorted(path for path in _results() if stamp(path) != self.before.get(path))


def _results() -> list[Path]:
    return [path for path in visible(RESULTS, "*/*/*/*/*/seed*") if path.suffix in (".json", ".npz")]


def _claimed(folder: Path) -> Path:
    """A file for an archive, the next after those that are there, made empty so that no other call takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(found[1]) for path in folder.iterdir() if (found := ARCHIVE.fullmatch(path.name))]
    for number in itertools.count(max(numbers, default=-1) + 1):
        path = folder / f"gpu-check-{number}.tar.gz"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError("there is no last number")


def archive(files: list[Path]) -> bytes:
    """Files as a compressed tar, under their paths below the project."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as tar:
        for path in files:
            if path.is_file():
                tar.add(path, arcname=path.as_posix().lstrip("/"))
    return stream.getvalue()
