"""Whole runs under two names: the second takes its record from that of the first, which is bit for bit the same.

Once the record of a run is written, `.reweigh/prefixes/whole/KEY.json` says whose it is, its digest, and KEY itself. A
run with the same key finds the record there, if it is as it was, and makes its own of it: the same numbers, costs,
curves and trace under its own name, and `prefix` says whose they are.

Until then `KEY.part` says which checkpoint is that of the run that trains. If it is stopped or killed, whichever run
has the lock next goes on from there, if that is further than it came itself.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.names import RunName
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, RecordError
from reweigh.records import kept, record
from reweigh.records.record import Stamp, record_path
from reweigh.training import going_on, sealed
from reweigh.training.checkpoint import FOLDER
from reweigh.training.engine import Run
from reweigh.training.shared import Shared

# The keys of a record that are a run's own, also where another has trained the same.
OWN = {
    "begun_by", "code", "digest", "ended", "group_sizes", "prefix", "raw", "record_version", "resumed", "run", "spec",
    "spec_digest", "split", "started", "trace",
}  # fmt: skip
COST = ("run", "digest", "seconds", "steps", "peak_bytes", "energy_joules")


class Twin(Shared):
    """A run as a whole. `theirs` is the record that it has taken over, None as long as there is none.

    `before` is the stamp of the run's own record from when it was seen not to be current: another process may have
    written it since, and then it is taken over too.
    """

    what = "the same run"

    def __init__(
        self,
        run: Run,
        name: str,
        key: str,
        before: Stamp | None,
        since: float | None = None,
        folder: Path = kept.FOLDER,
    ) -> None:
        super().__init__(run, name, folder / "whole" / f"{key}.json", since)
        self.key, self.before = key, before
        self.theirs: dict[str, Any] | None = None
        self.settled = run.over
        self.part = self.path.with_suffix(".part")
        self.announced = False

    def announce(self, checkpoint: Path) -> None:
        """Let others find the checkpoint of this run, which trains for all of them."""
        if self.lock.held and not self.announced:
            self._note(self.part, {"run": self.name, "checkpoint": checkpoint.as_posix()})
            self.announced = True

    def begun(self) -> Path | None:
        """The checkpoint that another run has left, now that this one has the lock; None if there is none.

        A file from elsewhere may name any path: only one that a run of that name can have is taken up, or set aside.
        """
        try:
            told = canonical_json.read(self.part)
            run, path = str(RunName.parse(told["run"])), Path(told["checkpoint"])
        except (OSError, ValueError, LookupError, TypeError, ConfigError):
            return None
        if run == self.name or not self.lock.held or path != FOLDER / run / path.name or path.suffix != ".pt":
            return None
        return path if path.is_file() or sealed.previous_of(path).is_file() else None

    def take_over(self) -> bool:
        """Find the record of the other run, if it is as it was."""
        try:
            link = canonical_json.read(self.path)
            path = record_path(str(RunName.parse(link["run"])))
            if link["run"] == self.name and record.stamp(path) == self.before:
                return False
            theirs = record.read(path)
            record.trace_path(path, theirs)
        except (OSError, ValueError, LookupError, TypeError, ConfigError, RecordError):
            return False
        # A link that was copied to another name leads to the record of another training.
        if link.get("digest") != theirs["digest"] or link.get("key") != self.key:
            return False
        self.theirs = theirs
        return True

    def keep(self, written: dict[str, Any]) -> None:
        """Let others find the record of this run."""
        self._note(self.path, {"key": self.key, "run": written["run"], "digest": written["digest"]})
        with contextlib.suppress(OSError):
            self.part.unlink()
        self.release()

    def _note(self, path: Path, body: dict[str, Any]) -> None:
        with going_on.without("notes of what runs share", self.name):
            canonical_json.write(path, json.dumps(body) + "\n")

    def results(self, path: Path) -> dict[str, Any]:
        """What the record at `path` takes from theirs: results, costs, what computed them, the trace."""
        assert self.theirs is not None
        taken = {name: value for name, value in self.theirs.items() if name not in OWN}
        stages = len(taken["stages"])
        cost = {name: self.theirs[name] for name in COST}
        begun = self.theirs.get("begun_by", [])
        prefix = {"key": self.key, "stages": stages, "of": stages, "reused": True, **cost, "begun_by": begun}
        return {**taken, "prefix": prefix, "trace": self._copied_trace(path)}

    def _copied_trace(self, path: Path) -> dict[str, Any] | None:
        """Copy their trace beside the record at `path`; what the record says of it."""
        assert self.theirs is not None
        if (trace := record.trace_path(record_path(self.theirs["run"]), self.theirs)) is None:
            return None
        copied = canonical_json.write(path.with_suffix(".npz"), trace.read_bytes())
        if file_digest(copied) != self.theirs["trace"]["sha256"]:
            copied.unlink()
            raise RecordError(f"{trace} was altered while it was copied; train {self.theirs['run']} again")
        return {**self.theirs["trace"], "file": copied.name}
