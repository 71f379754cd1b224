"""The attempts of a training job: the log of each is kept if it fails or is killed, and how each ended is noted.

Snakemake removes the log of a job before it starts the job again; so it does where Slurm starts a job again.

With a time budget a job is started again often, since each attempt does a part of the work. Snakemake knows no exit
codes: for it an attempt whose time is up has failed like any other. So an attempt notes how it ended, and the main
process starts again only what may get further (`allow_only_useful`).
"""

import itertools
import os
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reweigh.training import slurm

FOLDER = Path(".reweigh/attempts")
TIME_IS_UP, FAILED = "time is up", "failed"
LOST = 2  # so often a job is started again whose attempts were lost or failed: a node, a driver
STOPPED = 30  # and so often one that runs out of its time budget


def begin(log: Path) -> Path | None:
    """Say in a log which attempt this is, and where, and give it a second name: `seed_0.1.log` or the next one free.

    Returns the name; None if there can be none: no such log, or a file system without links.
    """
    number = next(number for number in itertools.count(1) if not _kept(log, number).exists())
    time = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    print(f"attempt {number} on {slurm.where()}, {time}", file=sys.stderr, flush=True)
    try:
        os.link(log, _kept(log, number))
    except OSError:
        return None
    return _kept(log, number)


def _kept(log: Path, number: int) -> Path:
    """The second name of the log of an attempt, counted from 1."""
    return log.with_suffix(f".{number}.log")


def end(log: Path, kept: Path | None, code: int, time_is_up: bool = False) -> None:
    """After a success the log has its one name again. Else note whether time was up or the job failed."""
    if code == 0:
        if kept is not None:
            kept.unlink(missing_ok=True)
        return
    try:
        notes = _notes(log)
        notes.parent.mkdir(parents=True, exist_ok=True)
        with notes.open("a", encoding="utf-8") as file:
            print(TIME_IS_UP if time_is_up else FAILED, file=file)
    except OSError as error:  # a full disk, say, which has its own line
        print(f"{_notes(log)}: how this attempt ended is not noted ({error})", file=sys.stderr)


def _notes(log: Any) -> Path:
    """The file with the ends of the attempts of the job that has this log."""
    return FOLDER / str(log).lstrip("/")


def forget() -> None:
    """Remove the notes of an earlier call: a job that failed then is tried anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def starts_left(logs: Iterable[Any], granted: int) -> int:
    """How often in all a job with these logs may be started again, of the number granted to a time budget.

    Not at all after an error of its own, which would only come again. Attempts that left no note, as their process or
    machine was lost, count as they do without a budget; those whose time was up count beside.
    """
    notes: list[str] = []
    for log in logs:
        path = _notes(log)
        # A byte that a disk has changed is no reason to end a call of Snakemake.
        notes += path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return 0 if FAILED in notes else min(granted, LOST + len(notes))


def allow_only_useful() -> None:
    """Have the Snakemake of this process ask `starts_left` before it starts a training job again.

    A rule has one number of retries for all of its jobs, and cannot tell one end from another; a job can.
    """
    from snakemake.jobs import Job

    forget()

    def restart_times(job: Any) -> int:
        granted = int(job.rule.restart_times)
        return starts_left(job.log, granted) if granted and job.rule.name.startswith("train_") else granted

    Job.restart_times = property(restart_times)
