"""Checkpoints: the state of an unfinished run, so that a lost machine costs minutes.

They are in `.reweigh/checkpoints/RUN`, outside of Snakemake's outputs (which it may delete before a retry), under a key
of all that the run's arithmetic depends on. With another spec, source, split, device or torch the key is another, so
that no run resumes from the state of a different one.
"""

import contextlib
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reweigh.canonical_json import atomic_file
from reweigh.errors import ConfigError
from reweigh.records.record import Stamp, stamp

FOLDER = Path(".reweigh") / "checkpoints"
VARIABLE, EVERY_SECONDS = "REWEIGH_CHECKPOINT_SECONDS", 60.0


def every_seconds() -> float:
    """How old a checkpoint may get, in seconds. Raises ConfigError for what is no number of seconds."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else EVERY_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(
            f"{VARIABLE}={text}: write seconds, from 0 (after each step) up; without it {EVERY_SECONDS:g}"
        )
    return seconds


class OutOfTime(Exception):
    """The time budget is spent, or the process was asked to end; the run's state is saved."""


class Clock:
    """When to stop: at a deadline (a value of time.monotonic(), or None) or on request. Runs may share one."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.stopping = False

    def stop(self) -> None:
        """Ask every run to save and stop after its current step. Safe to call in a signal handler."""
        self.stopping = True

    def is_up(self) -> bool:
        """Whether to stop now."""
        return self.stopping or (self.deadline is not None and time.monotonic() >= self.deadline)


class Keeper:
    """Called between steps: saves the run when its last checkpoint is old, and stops it when its time is up.

    `facts` are saved with the state: what goes into the record but is no part of the state. The result of `measured` is
    added to them at each save. `elsewhere(run)` is where its state goes now instead of the run's own file, if anywhere;
    `saved(path)` is told of the own one.

    Two processes may train the same run, if one outlived the Snakemake that started it and a second Snakemake started
    another. Both get the same record; the one that saves after the other wrote it removes the checkpoints. `record` is
    the path of that record, `before` its stamp when it was seen not to be current (None: there was none).
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
        self.name, self.root, self.folder = run_name, folder, folder / run_name
        self.path = self.folder / f"{key}.pt"
        self.clock = clock or Clock()
        self.facts: dict[str, Any] = {}
        self.measured: Callable[[], dict[str, Any]] = dict
        self.elsewhere: Callable[[Any], Path | None] = lambda run: None
        self.saved: Callable[[Path], None] = lambda path: None
        self.every_seconds = every_seconds()
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
        elsewhere = self.elsewhere(run)
        with atomic_file(elsewhere or self.path) as file:
            torch.save({**run.state(), "facts": {**self.facts, "run": self.name}}, file)
        if elsewhere is None:
            self.saved(self.path)
        self.saved_at = time.monotonic()
        if self.record and stamp(self.record) != self.before:
            self.done()

    def measure(self) -> None:
        """Bring `facts` up to date."""
        self.facts.update(self.measured())

    def resume(self, run: Any, since: float | None = None) -> bool:
        """Load the run's state if there is a checkpoint; whether there was one.

        One that another run has left elsewhere is its own too, if it is not from before `since`.
        """
        return self._load(self.elsewhere(run) or self.path, run, since)

    def overtake(self, run: Any, path: Path, since: float | None = None) -> bool:
        """Load the state of another run that is the same training, if it came further; whether it did.

        Not if it is from before `since`.
        """
        return self._load(path, run, since, beyond=run.step)

    def _load(self, path: Path, run: Any, since: float | None, beyond: int = -1) -> bool:
        if not path.is_file():
            return False
        try:
            # The file is our own, and holds NumPy arrays and plain values beside tensors.
            state = torch.load(path, map_location=run.device, weights_only=False)
        except Exception as error:  # damaged on disk: start again rather than fail at every try
            print(f"{path}: unreadable checkpoint ({error}); going on without it", file=sys.stderr)
            return False
        facts = state.pop("facts", {})
        own = facts.pop("run", self.name) == self.name
        *_, step = state["position"]
        if step <= beyond or (not own and since is not None and path.stat().st_mtime < since):
            return False
        # What another has done is this run's own work from now on: its first part started when that one did.
        parts = [start for start in (facts.get("started"), None if own else self.facts.get("started")) if start]
        self.facts = {**facts, "started": min(parts, default=None)}
        self.facts["resumed"] = facts.get("resumed", 0) + 1
        run.load_state(state)
        return True

    def done(self) -> None:
        """Remove the run's checkpoints, once its record is written; also those of older specs and sources."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.folder.relative_to(self.root).parents:
            with contextlib.suppress(OSError):  # not empty: other runs of the cell are not finished
                (self.root / parent).rmdir()
