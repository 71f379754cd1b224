"""The lines of a check: on stdout and in a log file, each flushed at once, so that a killed machine loses none."""

import contextlib
import os
import sys
import time
from collections import Counter
from io import FileIO
from pathlib import Path

from reweigh.errors import ConfigError

OK, FAILED, SKIPPED, NOTE = "ok", "FAILED", "skipped", "note"


class Report:
    """`stage | check | status | seconds | detail`, a line each; lines that begin with # are what else was printed.

    A log that is there is continued. Raises ConfigError if it cannot be opened; where it cannot be written later, as on
    a disk that is full, it says so once, goes on, and writes what is missing with the next line that can be written.
    """

    def __init__(self, log: Path | None) -> None:
        self.log, self.file = log, None if log is None else _opened(log)
        self.unwritten, self.told = b"", False
        self.counts: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()  # by stage: lines of checks that held or did not
        self.started = time.monotonic()

    def line(self, stage: str, check: str, status: str, seconds: float | None, detail: str) -> None:
        """Write a line."""
        self.counts[status] += 1
        self.checked[stage] += status in (OK, FAILED)
        took = "" if seconds is None else f"{seconds:.2f}"
        self._write(" | ".join((stage, plain(check), status, took, plain(detail))))

    def remark(self, text: str) -> None:
        """Write what a stage's process printed beside its checks, as lines that begin with #."""
        for line in text.splitlines():
            self._write(f"# {line}")

    def _write(self, line: str) -> None:
        try:
            print(line, flush=True)
        except OSError as error:  # nobody reads it any more, or it is a file on a disk that is full
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
            complain(f"nothing more is printed: {error.strerror or error}")
        if self.file is not None:
            self.unwritten += f"{line}\n".encode()
            self._save(self.file)

    def _save(self, file: FileIO) -> None:
        try:
            while self.unwritten:
                self.unwritten = self.unwritten[file.write(self.unwritten) :]
        except OSError as error:
            if not self.told:
                complain(f"{self.log}: cannot be written for now: {error.strerror or error}")
            self.told = True
        with contextlib.suppress(OSError):  # a pipe or a terminal
            os.fsync(file.fileno())

    @property
    def seconds(self) -> float:
        """Since the report began."""
        return time.monotonic() - self.started


def _opened(log: Path) -> FileIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open(log, "ab", buffering=0)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{log}: no log can be written there ({why}); name another file: --log FILE") from None


def plain(text: str) -> str:
    """A text as a field of a line: no line breaks, no separators."""
    return " ".join(str(text).replace("|", "/").split())


def complain(text: str) -> None:
    """A line on stderr, if it can be written."""
    with contextlib.suppress(OSError):
        print(f"reweigh: {text}", file=sys.stderr, flush=True)
