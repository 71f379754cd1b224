"""Checkpoints: the state of an unfinished run, so that a lost machine costs minutes.

They are in `.reweigh/checkpoints/RUN`, outside of Snakemake's outputs (which it may delete before a retry), under a key
of all that the run's arithmetic depends on. With another spec, source, split, device (by its name and the instructions
that torch takes of it), torch or numpy the key is another, so that no run resumes from the state of a different one. A
file that is not what was written is set aside, and the run goes on from the one before, which is kept (`sealed`).
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

from reweigh.errors import ConfigError
from reweigh.path_parts import below
from reweigh.records.record import Stamp, stamp
from reweigh.training import going_on, sealed, stints
from reweigh.training.stints import Stint

FOLDER = Path(".reweigh") / "checkpoints"
VARIABLE, EVERY_SECONDS = "REWEIGH_CHECKPOINT_SECONDS", 60.0
BESIDE = ("facts", "run", "whole", "stints")  # what lies in a file beside the state of the run


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
        self.saving = False  # whether a checkpoint is being written
        self.patient_until = math.inf

    def stop(self, patience: float = math.inf) -> None:
        """Ask every run to save and stop after its current step. Safe to call in a signal handler.

        `patience`: seconds from now after which nobody waits for a step any more.
        """
        self.stopping = True
        self.patient_until = min(self.patient_until, time.monotonic() + patience)

    def is_overdue(self) -> bool:
        """Whether a run that has not stopped by now is to be ended at its last checkpoint."""
        return time.monotonic() >= self.patient_until

    def is_up(self) -> bool:
        """Whether to stop now."""
        return self.stopping or (self.deadline is not None and time.monotonic() >= self.deadline)


class Keeper:
    """Called between steps: saves the run when its last checkpoint is old, and stops it when its time is up.

    `facts` are saved with the state: what goes into the record but is no part of the state. The result of `measured` is
    added to them at each save. So are the `stints`: who trained which part. `whole` is the key that runs have in common
    which are the same training. `elsewhere(run)` is where its state goes now instead of the run's own file, if
    anywhere; `saved(path)` is told of the own one.

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
        self.name, self.root, self.folder, self.key = run_name, folder, folder / below(run_name), key
        self.path = self.folder / f"{key}.pt"
        self.clock = clock or Clock()
        self.facts: dict[str, Any] = {}
        self.stints: list[Stint] = []
        self.whole = ""
        self.refused: set[Path] = set()  # files from which this run could not go on
        self.measured: Callable[[], dict[str, Any]] = dict
        self.elsewhere: Callable[[Any], Path | None] = lambda run: None
        self.saved: Callable[[Path], None] = lambda path: None
        self.every_seconds = every_seconds()
        self.saved_at = time.monotonic()
        self.record, self.before = record, before

    def start(self, facts: dict[str, Any]) -> None:
        """The run begins, and these are its facts: among them when it `started`."""
        self.facts = facts
        self.stints = [Stint(run=self.name, started=facts["started"], step=0, seconds=0.0)]

    def start_earlier(self, started: str, resumed: int) -> None:
        """The run goes on with what an earlier try of it had left, which `started` then and was `resumed` so often."""
        self.start({**self.facts, "started": min(started, self.facts["started"]), "resumed": resumed + 1})

    def __call__(self, run: Any) -> None:
        up = self.clock.is_up()
        if up or time.monotonic() - self.saved_at >= self.every_seconds:
            self.save(run)
            up = self.clock.is_up()  # perhaps since then
        if up:
            raise OutOfTime

    def save(self, run: Any) -> None:
        """Write the run's state atomically: a checkpoint is whole or it is not there.

        Where the disk refuses it the run goes on without, unless it has to stop now.
        """
        self.measure()
        elsewhere = self.elsewhere(run)
        beside = {"facts": self.facts, "run": self.name, "whole": self.whole, "stints": self.stints}
        self.clock.saving = True
        try:
            sealed.write(elsewhere or self.path, {**run.state(), **beside}, keep_previous=True)
            if elsewhere is None:
                self.saved(self.path)
        except OSError as error:
            if self.clock.is_up():
                raise
            going_on.check(error, "checkpoints: a run that is stopped begins again", self.name)
        finally:
            self.clock.saving = self.clock.stopping  # the runs that share the clock are saved next
        self.saved_at = time.monotonic()
        if self.record and stamp(self.record) != self.before:
            self.done()

    def measure(self) -> None:
        """Bring `facts` up to date."""
        self.facts.update(self.measured())

    def resume(self, run: Any) -> bool:
        """Load the run's state if there is a checkpoint; whether there was one."""
        return self.take_up(run, self.path)

    def take_up(
        self, run: Any, path: Path, since: float | None = None, beyond: int = -1, whole: str | None = None
    ) -> bool:
        """Load the state at `path`, or the one before if that is damaged; whether that was done.

        It may be that of another run. Not if it has no more than `beyond` steps, is another run's from before `since`,
        or has another key than `whole` (None: any). Says so in a line if a file is not what was written. Raises
        Unusable if the run cannot go on from it: `run` is of no use then, and the next call will not try the file.
        """
        for file in (path, sealed.previous_of(path)):
            if (found := self._sound(run, file)) is None:
                continue
            state, (facts, by, key, taken), made = found
            *_, step = state["position"]
            if step <= beyond or whole not in (None, key):
                return False
            if by != self.name and since is not None and made < since:
                return False
            self.refused.add(file)
            sealed.load_into(run, state, file)
            self.refused.discard(file)
            self._follow(facts, taken, step, state["seconds"])
            return True
        return False

    def _sound(self, run: Any, file: Path) -> tuple[dict[str, Any], list[Any], float] | None:
        """The state in a file, what lies `BESIDE` it, and when it was made. None if there is none to go on from."""
        if file in self.refused or not file.is_file():
            return None
        try:
            made = file.stat().st_mtime
            state, _ = sealed.read(file, run.device)
            beside = [state.pop(name) for name in BESIDE]
            if state.keys() != run.state().keys():
                raise sealed.Damaged("it holds something else than the state of a run")
            int(state["position"][-1])
        except FileNotFoundError:  # removed meanwhile
            return None
        except (sealed.Damaged, LookupError, TypeError, ValueError) as error:
            aside, before = sealed.set_aside(file), sealed.previous_of(file).is_file()
            then = "going on from the one before" if before else "going on without it"
            print(f"{file}: damaged, or of an older version ({_said(error)}); {aside}; {then}", file=sys.stderr)
            return None
        return state, beside, made

    def _follow(self, facts: dict[str, Any], taken: list[Stint], step: int, seconds: float) -> None:
        """The run goes on from a state with these facts and stints, which may be another run's."""
        started = [stint["started"] for stint in (*taken, *self.stints) if stint["run"] == self.name]
        first = min(filter(None, started), default=None)
        if not taken or taken[-1]["run"] != self.name:
            taken = [*taken, Stint(run=self.name, started=first, step=step, seconds=seconds)]
        self.facts = {**facts, "started": first, "resumed": facts.get("resumed", 0) + 1}
        self.stints = taken

    def begun_by(self, prefix: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """What other runs have trained of this one, for the record, apart from a `prefix` that was taken over."""
        first = (prefix["steps"], prefix["seconds"]) if prefix and prefix["reused"] else (0, 0.0)
        return stints.begun_by(self.stints, self.name, *first)

    def done(self) -> None:
        """Remove the run's checkpoints, once its record is written; also those of older specs and sources."""
        if self.folder.resolve() != self.root.resolve() / self.name:
            return  # a link leads elsewhere: nothing is removed there
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.folder.relative_to(self.root).parents:
            with contextlib.suppress(OSError):  # not empty: other runs of the cell are not finished
                (self.root / parent).rmdir()


def _said(error: Exception) -> str:
    """What an error says, in a line."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, sealed.Damaged) else f"{type(error).__name__}: {lines[0]}"
