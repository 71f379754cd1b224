"""The lines of a check: on stdout and in a log file, each flushed at once, so that a killed machine loses none."""

import os
import sys
import time
from collections import Counter
from pathlib import Path

OK, FAILED, SKIPPED, NOTE = "ok", "FAILED", "skipped", "note"


class Report:
    """`stage | check | status | seconds | detail`, a line each; lines that begin with # are what else was printed."""

    def __init__(self, log: Path | None) -> None:
        self.file = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(log, "w")  # noqa: SIM115 - open as long as the report
        self.counts: Counter[str] = Counter()
        self.started = time.monotonic()

    def line(self, stage: str, check: str, status: str, seconds: float | None, detail: str) -> None:
        """Write a line."""
        self.counts[status] += 1
        took = "" if seconds is None else f"{seconds:.2f}"
        self._write(" | ".join((stage, plain(check), status, took, plain(detail))))

    def remark(self, text: str) -> None:
        """Write what a stage's process printed beside its checks, as lines that begin with #."""
        for line in text.splitlines():
            self._write(f"# {line}")

    def _write(self, line: str) -> None:
        print(line, flush=True)
        if self.file is not None:
            self.file.write(f"{line}\n")
            self.file.flush()
            os.fsync(self.file.fileno())

    @property
    def seconds(self) -> float:
        """Since the report began."""
        return time.monotonic() - self.started


def plain(text: str) -> str:
    """A text as a field of a line: no line breaks, no separators."""
    return " ".join(str(text).replace("|", "/").split())


def complain(text: str) -> None:
    """A line on stderr."""
    print(f"reweigh: {text}", file=sys.stderr, flush=True)
