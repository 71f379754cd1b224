"""`python -m reweigh.planning.watch LOG COMMAND...`: run Snakemake, and show of its output what a user waits for.

On a terminal that is one line with the steps that are done and the time left, in a pipe a line a minute; beside it our
own lines, such as the last ones of the log of a job that failed. All of the output goes to the file LOG. Ctrl-C goes to
the command, which belongs to the same terminal; SIGTERM is passed on to it. Its exit code is this program's.
"""

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from reweigh import os_errors

STEPS = re.compile(r"(\d+) of (\d+) steps \(")
OURS = "reweigh: "
MINUTE = 60.0
EARLY = 0.05  # of the steps: the first ones say little of how long the others take
SHOWN = 15  # lines of the output, where the command failed and nothing of it was shown


class Screen:
    """What is seen: lines that stay, and below them one that says how far the command is."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_terminal = stream, stream.isatty()
        self.began = self.told = time.monotonic()
        self.done, self.total, self.lines = 0, 0, 0
        if self.is_terminal:
            print("looking what there is to do ...", end="", file=stream, flush=True)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.lines += 1
        print(f"\r\x1b[K{text}" if self.is_terminal else text, file=self.stream, flush=True)

    def steps(self, done: int, total: int) -> None:
        """Show how many steps are done; in a pipe at most once a minute."""
        self.done, self.total, now = done, total, time.monotonic()
        if self.is_terminal:
            print(f"\r\x1b[K{self.so_far(now)}", end="", file=self.stream, flush=True)
        elif now - self.told >= MINUTE:
            self.told = now
            print(self.so_far(now), file=self.stream, flush=True)

    def so_far(self, now: float) -> str:
        """`63 of 214 steps, 4 min, about 9 min left`; the steps that are left are taken to be like those done.

        Nothing is said of them before a twentieth is done.
        """
        took, known = now - self.began, self.done >= EARLY * self.total
        left = f", about {minutes(took / self.done * (self.total - self.done))} left" if self.done and known else ""
        return f"{self.done} of {self.total} steps, {minutes(took)}{left}"

    def end(self) -> None:
        """Remove the line about steps."""
        if self.is_terminal:
            print("\r\x1b[K", end="", file=self.stream, flush=True)


def minutes(seconds: float) -> str:
    """
    >>> minutes(42.4), minutes(500)
    ('42 s', '8 min')
    """
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def watch(log: Path, command: list[str], stream: TextIO = sys.stderr) -> int:
    """Run a command and show its progress; its exit code. It is not run if there can be no log."""
    screen, last, ours = Screen(stream), deque[str](maxlen=SHOWN), False
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("wb", buffering=0)
    except OSError as error:
        screen.line(f"{OURS}{os_errors.in_words(error) or error}")
        return 1
    signal.signal(signal.SIGINT, lambda *_: None)  # the command gets it too, and says how it ended
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    with file:
        for line in process.stdout or ():
            with contextlib.suppress(OSError):  # the disk became full: the command says so, and that is shown
                file.write(line.encode())
            last.append(line.rstrip())
            ours = line.startswith(OURS) or (ours and line.startswith("    "))
            if ours:
                screen.line(line.rstrip())
            elif found := STEPS.match(line):
                screen.steps(int(found[1]), int(found[2]))
    code = process.wait()
    screen.end()
    if code and not screen.lines:
        for line in last:
            screen.line(line)
    if code:
        screen.line(f"all of the output: {log}")
    else:
        took = minutes(time.monotonic() - screen.began)
        screen.line(
            f"{screen.total} steps in {took}; all of the output: {log}" if screen.total else "nothing to be done"
        )
    return code


if __name__ == "__main__":
    sys.exit(watch(Path(sys.argv[1]), sys.argv[2:]))
