"""Checkpoints: the state of a run that is not finished, so that a lost machine loses minutes.

They lie outside Snakemake's outputs (which it may delete before a retry), in `.reweigh/checkpoints/RUN`, under a key of
all that the run's arithmetic depends on. A changed spec, source, split, device or torch has another key: no run resumes
another's.
"""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reweigh.canonical_json import atomic_file
from reweigh.records.record import Stamp, stamp

FOLDER = Path(".reweigh") / "checkpoints"
EVERY_SECONDS = 60.0


class OutOfTime(Exception):
    """The time budget is spent, or the process was asked to end; the run's state is saved."""


class Clock:
    """When to stop: at a deadline (a value of time.monotonic(), or None), or when asked to. Runs may share one."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.stopping = False

    def stop(self) -> None:
        """Ask every run to save and stop after the step that it is taking. A signal handler may call this."""
        self.stopping = True

    def is_up(self) -> bool:
        return self.stopping or (self.deadline is not None and time.monotonic() >= self.deadline)


class Keeper:
    """Called between steps: saves the run when its last checkpoint is old, and stops it when its time is up.

    `facts` are saved beside the state: what the record says of the run that its state does not know. What `measured`
    gives is added to them whenever the state is saved.

    Two processes may train one run, if the first outlived the Snakemake that started it and a second Snakemake started
    the other. Both come to the same record; whoever saves after the other has written it cleans up. `record` is that
    file, and `before` its stamp when it was last seen not to be the run's (None: there was none).
    """

    def __init__(
        self,
        run_name: str,
        key: str,
        clock: Clock | None = None,
        folder: Path = FOLDER,
        record: Path | None = None,
        before: Stamp | None = None,
    ) -> None:
        self.root, self.folder = folder, folder / run_name
        self.path = self.folder / f"{key}.pt"
        self.clock = clock or Clock()
        self.facts: dict[str, Any] = {}
        self.measured: Callable[[], dict[str, Any]] = dict
        self.every_seconds = float(os.environ.get("REWEIGH_CHECKPOINT_SECONDS", EVERY_SECONDS))
        self.saved_at = time.monotonic()
        self.record, self.before = record, before

    def __call__(self, run: Any) -> None:
        if self.clock.is_up():
            self.save(run)
            raise OutOfTime
        if time.monotonic() - self.saved_at >= self.every_seconds:
            self.save(run)

    def save(self, run: Any) -> None:
        """Write the run's state atomically: a checkpoint is whole or it is not there."""
        self.measure()
        with atomic_file(self.path) as file:
            torch.save({**run.state(), "facts": self.facts}, file)
        self.saved_at = time.monotonic()
        if self.record and stamp(self.record) != self.before:
            self.done()

    def measure(self) -> None:
        """Bring `facts` up to date."""
        self.facts.update(self.measured())

    def resume(self, run: Any) -> bool:
        """Load the run's state if there is a checkpoint of it; whether there was."""
        if not self.path.is_file():
            return False
        try:
            # The file is our own, and holds NumPy arrays and plain values beside tensors.
            state = torch.load(self.path, map_location=run.device, weights_only=False)
        except Exception as error:  # a disk that lost bytes: start again rather than fail for ever
            print(f"{self.path}: unreadable checkpoint ({error}); starting the run again", file=sys.stderr)
            return False
        self.facts = state.pop("facts", {})
        run.load_state(state)
        return True

    def done(self) -> None:
        """The record is written: remove the run's checkpoints, also those under the keys of older specs and sources."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.folder.relative_to(self.root).parents:
            with contextlib.suppress(OSError):  # not empty: other runs of the cell are not finished
                (self.root / parent).rmdir()
