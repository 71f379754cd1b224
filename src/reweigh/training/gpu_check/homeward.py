"""What has to come home from a machine that is lent: the log and the new records, in archives of a limited size."""

import io
import tarfile
import time
from pathlib import Path

from reweigh import canonical_json
from reweigh.training.gpu_check.report import complain

PART_BYTES = 12 * 2**20  # of the files in an archive, before they are compressed
EVERY_SECONDS = 30.0
RESULTS = Path("results")


class Homeward:
    """Archives `gpu-check-N.tar.gz` in a folder, rewritten as records are added, so that a kill loses half a minute."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.began, self.written = time.time(), 0.0
        self.part, self.bytes = 0, 0
        self.files: list[Path] = []  # of the present archive
        self.seen: set[Path] = set()  # of all archives

    def update(self, now: bool = False) -> None:
        """Write the archive again, if the last time is a while ago. Where that fails, say so, and go on checking."""
        if not now and time.monotonic() - self.written < EVERY_SECONDS:
            return
        self.written = time.monotonic()
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
                self.part, self.bytes, self.files = self.part + 1, 0, []
            self.files.append(path)
            self.seen.add(path)
            self.bytes += size
        self._write()

    def _write(self) -> None:
        canonical_json.write(self.folder / f"gpu-check-{self.part}.tar.gz", archive([self.log, *self.files]))

    def _new(self) -> list[Path]:
        """Records and their traces that were written since the beginning."""
        paths = RESULTS.glob("*/*/*/*/*/seed*")
        return sorted(path for path in paths if path.suffix in (".json", ".npz") and path.stat().st_mtime >= self.began)


def archive(files: list[Path]) -> bytes:
    """Files as a compressed tar, under their paths below the project."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as tar:
        for path in files:
            if path.is_file():
                tar.add(path, arcname=path.as_posix().lstrip("/"))
    return stream.getvalue()
