"""The process that starts the stages one after another, watches them, and never touches a GPU itself.

A check that takes longer than it may is ended with its process; so is one whose process dies. Either counts as failed,
what the check names falls back, and a fresh process goes on with the next check.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from reweigh.training.device import handed_on, take_lease
from reweigh.training.gpu_check.checks import Context, Facts, FallsBack, began, described, merged
from reweigh.training.gpu_check.report import FAILED, NOTE, OK, SKIPPED, Report, complain

START_SECONDS = 120.0  # for a process to import torch and begin a check
SAVE_SECONDS = 20.0  # for a process that was asked to end to save its runs
KILL_SECONDS = 10.0
PRINTED_LINES = 40  # of what a failed process printed
MOST_FAILURES = 6  # each costs the start of a process


@dataclass(frozen=True)
class Stage:
    """A stage, the module of its checks, and the most seconds that it may take."""

    name: str
    module: str
    seconds: float
    failures: int = MOST_FAILURES  # one after another, before the rest is left out
    trains: bool = False  # it checks nothing: without time for it, nothing is left unchecked


@dataclass
class Found:
    """What the stages so far have found: what falls back, and facts such as the time of a step."""

    falls_back: dict[str, list[str]] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)

    def add(self, falls_back: FallsBack) -> None:
        """Add what falls back."""
        self.falls_back = merged(self.falls_back, falls_back)


def check(
    stages: list[Stage], context: Context, report: Report, budget: float, written: Callable[[], None] | None = None
) -> int:
    """Take all stages within about `budget` seconds; the exit code: 1 if any check failed, else 0.

    The exit code is 1 too if a stage checked nothing: what was not checked has not passed. The last stage gets the time
    that is left. `written` is called at least every second. One lease holds the device for all stages, so that the card
    that is checked is the card that trains. Raises TrainingError if no device becomes free in that time.
    """
    found, end = Found(), time.monotonic() + budget
    lease = take_lease(budget) if context.device == "cuda" else None
    if lease:
        lease.hand_on()
    why = "it did not come to its end; "
    try:
        for number, stage in enumerate(stages):
            left = end - time.monotonic()
            last = number == len(stages) - 1
            found.facts[began(stage.name)] = True
            if left < 5 or "device" in found.falls_back:
                report.line(stage.name, "all", SKIPPED, None, "no time is left" if left < 5 else "there is no device")
                continue
            _Watch(stage, context, report, found, left if last else min(stage.seconds, left), written).run()
        missed = [stage.name for stage in stages if not (report.checked[stage.name] or stage.trains)]
        why = f"nothing was checked of: {', '.join(missed)}; " if missed else ""
        if not any(report.checked.values()):
            why = "nothing was checked; "
    finally:
        passed = not (report.counts[FAILED] or why)
        report.line("all", "summary", OK if passed else FAILED, report.seconds, why + summary(report, found))
        if lease:
            lease.take_back()
            lease.release()
    return 0 if passed else 1


def summary(report: Report, found: Found) -> str:
    """How many checks ended how, and what falls back."""
    counts = ", ".join(f"{report.counts[status]} {status}" for status in (OK, FAILED, SKIPPED))
    return f"{counts}; falls back: {described(found.falls_back) or 'nothing'}"


class _Watch:
    """One stage from its first process to its last."""

    def __init__(
        self,
        stage: Stage,
        context: Context,
        report: Report,
        found: Found,
        seconds: float,
        written: Callable[[], None] | None,
    ) -> None:
        self.stage, self.context, self.report, self.found = stage, context, report, found
        self.written = written or (lambda: None)
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.done: list[str] = []
        self.failures = 0  # one after another
        self.running: dict[str, Any] | None = None  # the check that has begun
        self.limit = self.began = 0.0
        self.unread = b""  # the beginning of a message

    def run(self) -> None:
        """Start processes until one says that all checks are over, or the time of the stage is."""
        fruitless = 0
        while fruitless < 2:
            before = len(self.done)
            if self._process():
                break
            if time.monotonic() >= self.end:
                self.report.line(self.stage.name, "rest", SKIPPED, None, "the time of the stage is over")
                break
            if self.failures >= self.stage.failures:
                self.report.line(self.stage.name, "rest", SKIPPED, None, f"{self.failures} failed one after another")
                break
            fruitless = 0 if len(self.done) > before else fruitless + 1
        else:
            self.report.line(self.stage.name, "rest", FAILED, None, "its process does not start")

    def _process(self) -> bool:
        """Watch one process; whether it has taken all checks that are left."""
        self.running, self.unread, failed = None, b"", self.report.counts[FAILED]
        self.began, self.limit = time.monotonic(), START_SECONDS
        with _scratch() as printed:
            process, channel = self._start(printed)
            try:
                over, why = self._listen(process, channel)
            finally:
                try:
                    _end(process)
                finally:
                    told = self._hear_out(channel)
                    os.close(channel)
            lines = _text(printed)
            if why and not told:
                self._lost(why + _place(lines))
            if self.report.counts[FAILED] > failed:
                self.report.remark("\n".join(lines[-PRINTED_LINES:]))
            return over

    def _start(self, printed: Any) -> tuple[subprocess.Popen[bytes], int]:
        """Start a process; with it the end of its pipe to read from."""
        ours, theirs = os.pipe()
        known = dataclasses.replace(
            self.context,
            falls_back=self.found.falls_back,
            facts=self.found.facts,
            seconds=max(self.end - time.monotonic(), 0.0),
        )
        body = {key: value for key, value in vars(known).items() if key != "note"}
        order = {"module": self.stage.module, "context": body, "done": self.done}
        command = [sys.executable, "-m", "reweigh.training.gpu_check.child", str(theirs), json.dumps(order)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(theirs, *handed_on()),
            start_new_session=True,  # so that what it starts is ended with it
        )
        os.close(theirs)
        return process, ours

    def _listen(self, process: subprocess.Popen[bytes], channel: int) -> tuple[bool, str]:
        """Take what a process says. Whether all checks are over, and else why it had to be given up, if it had."""
        while True:
            now = time.monotonic()
            wait = min(self.began + self.limit, self.end) - now
            if wait <= 0:
                late = "the time of the stage is over" if now >= self.end else f"hung: no answer in {self.limit:.0f} s"
                return False, late
            self.written()  # also where nothing is said for long: what was last said has to come home
            if not select.select([channel], [], [], min(wait, 1.0))[0]:
                continue
            more = os.read(channel, 65536)
            if not more:
                return False, _ended(process)
            for message in self._messages(more):
                if message["kind"] in ("over", "renew"):
                    return message["kind"] == "over", ""
                self._take(message)
                self.written()

    def _hear_out(self, channel: int) -> bool:
        """Take what a process said while it was ended; whether its check has come to an end by that."""
        began = self.running
        os.set_blocking(channel, False)
        with contextlib.suppress(BlockingIOError):  # one that cannot be ended has it open
            while more := os.read(channel, 65536):
                for message in self._messages(more):
                    if message["kind"] not in ("over", "renew"):
                        self._take(message)
        return began is not None and self.running is not began

    def _messages(self, more: bytes) -> list[dict[str, Any]]:
        *lines, self.unread = (self.unread + more).split(b"\n")
        return [json.loads(line) for line in lines]

    def _take(self, message: dict[str, Any]) -> None:
        """Take one message: a check begins, it has ended, or a line of its own."""
        name = message["check"]
        if message["kind"] == "begin":
            self.running, self.began, self.limit = message, time.monotonic(), message["seconds"]
        elif message["kind"] == NOTE:
            self.report.line(self.stage.name, name, message["status"], None, message["detail"])
        else:
            detail = message["detail"]
            if message["status"] == FAILED and self.running:
                detail = self._fall_back(detail, message["falls_back"])
            self.failures = self.failures + 1 if message["status"] == FAILED else 0
            self.found.facts.update(message["facts"])
            self.report.line(self.stage.name, name, message["status"], message["took"], detail)
            self.done.append(name)
            self.running = None
            self.began, self.limit = time.monotonic(), START_SECONDS

    def _lost(self, why: str) -> None:
        """A process was given up: the check that it was at counts as failed."""
        took = time.monotonic() - self.began
        if self.running is None:
            self.report.line(self.stage.name, "process", FAILED, took, f"{why}, before a check began")
        elif why.startswith("the time") and took < self.running["seconds"]:
            self.report.line(self.stage.name, self.running["check"], SKIPPED, took, why)
            self.done.append(self.running["check"])
        else:
            self.failures += 1
            self.report.line(self.stage.name, self.running["check"], FAILED, took, self._fall_back(why))
            self.done.append(self.running["check"])

    def _fall_back(self, detail: str, known: FallsBack | None = None) -> str:
        """Note what falls back with the running check, as it named or found it; the detail with that."""
        falls_back = known if known is not None else self.running["falls_back"] if self.running else {}
        self.found.add(falls_back)
        return f"{detail}; falls back: {described(falls_back)}" if any(falls_back.values()) else detail


def _ended(process: subprocess.Popen[bytes]) -> str:
    """How a process ended that no longer speaks."""
    try:
        code = process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its pipe and went on"
    if code >= 0:
        return f"its process ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process was ended by signal {-code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started. They are asked first, so that one that trains saves its runs.

    A stage that trains passes the request on and waits (`missing.py`); where it is no longer there to do so, those that
    it left are asked here: once, because the second request ends them. One that hangs in the driver may not end: nobody
    waits for it.
    """
    until = time.monotonic() + SAVE_SECONDS
    try:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAVE_SECONDS)
            _ask_the_rest(process.pid, until)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        complain(f"process {process.pid} cannot be ended; going on without it")


def _ask_the_rest(group: int, until: float) -> None:
    """Ask what is left of a group of processes to end, and wait for that."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.1)


def _scratch() -> IO[bytes]:
    """A file for what a process prints; nothing is kept of it where the disk is full."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


def _place(printed: list[str]) -> str:
    """Where a process hung, by the stack that it printed shortly before it was ended; empty if it printed none."""
    after = next((number for number, line in enumerate(printed) if line.startswith("Timeout (")), None)
    frames = [] if after is None else [line.strip() for line in printed[after:] if line.startswith("  File ")]
    return f", at {frames[0]}" if frames else ""


def _text(printed: Any) -> list[str]:
    printed.seek(0)
    return printed.read().decode(errors="replace").splitlines()


def stages_of(names: list[str], stages: list[Stage]) -> list[Stage]:
    """The stages of these names, in their own order; all without any."""
    return [stage for stage in stages if not names or stage.name in names]


def log_path(folder: Path = Path("results/bench")) -> Path:
    """Where the log goes by default: `results/bench/gpu-check-DATE.log`, in UTC."""
    return folder / time.strftime("gpu-check-%Y%m%dT%H%M%SZ.log", time.gmtime())
