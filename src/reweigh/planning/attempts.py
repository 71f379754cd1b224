"""The log of one attempt of a training job: who makes it, and that it is kept if the attempt fails or is killed.

Snakemake removes the log of a job before it starts the job again; so it does where Slurm starts a job again.
"""

import itertools
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from reweigh.training import slurm


def begin(log: Path) -> Path | None:
    """Say in a log which attempt this is, and where, and give it a second name: `seed_0.1.log` or the next one free.

    Returns the name; None if there can be none: no such log, or a file system without links.
    """
    for number in itertools.count(1):
        kept: Path | None = log.with_suffix(f".{number}.log")
        try:
            os.link(log, kept or log)
        except FileExistsError:
            continue
        except OSError:
            kept = None
        break
    print(
        f"attempt {number} on {slurm.where()}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", file=sys.stderr, flush=True
    )
    return kept


def end(kept: Path | None, code: int) -> None:
    """After a success the log has its one name again."""
    if kept is not None and code == 0:
        kept.unlink(missing_ok=True)
