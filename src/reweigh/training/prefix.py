"""Stages that several runs share, trained once: the state at their end is kept in `.reweigh/prefixes/KEY.pt`.

`Method.prefix` says which stages they are. A run that comes to a file goes on from it, bit for bit as if it had trained
the stages itself, and its record says whose they were and what they cost. A damaged file is set aside and made again.

Until then the state of the run that trains them lies in `KEY.part`. If it is stopped or killed, whichever run has the
lock next goes on from there, or from `KEY.part.previous` if that is damaged: the work so far belongs to all that share
it. What nobody wants any more is removed by `records/kept.py`.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reweigh.methods import base
from reweigh.records import kept, record
from reweigh.records.identity import with_prefix
from reweigh.training import going_on, sealed, shared
from reweigh.training.checkpoint import Keeper
from reweigh.training.engine import Run
from reweigh.training.shared import Shared, Surroundings


def key_of(spec: Mapping[str, Any], prefix: base.Prefix, around: Surroundings) -> str:
    """The key of the prefix of a run: that of a run of the method that it uses, with its options."""
    return shared.key_of(with_prefix(spec, prefix.uses, prefix.options), prefix.stages, around)


class SharedPrefix(Shared):
    """The prefix of a run. `facts` are what the record says of it, None as long as it is not at its end.

    `keeper` has the facts of the run's checkpoint, if there is one. `peak()` is the peak memory of this process in
    bytes, `joules()` the energy of the run so far.
    """

    what = "stages that they share"

    def __init__(
        self,
        run: Run,
        keeper: Keeper,
        prefix: base.Prefix,
        key: str,
        peak: Callable[[], int],
        joules: Callable[[], float | None] = lambda: None,
        since: float | None = None,
        folder: Path = kept.FOLDER,
    ) -> None:
        super().__init__(run, keeper.name, folder / f"{key}.pt", since)
        self.part = self.path.with_suffix(".part")
        self.keeper, self.prefix, self.key, self.peak, self.joules = keeper, prefix, key, peak, joules
        self.at_once: Callable[[], int] = lambda: 1  # how many runs share the device, at most
        self.taken_at_once = 1  # how many did while what was taken over was trained
        self.go_on(keeper.facts["prefix"])

    def restart(self, run: Run) -> None:
        """Go on with another object of the run."""
        super().restart(run)
        self.go_on(self.keeper.facts["prefix"])

    def go_on(self, facts: dict[str, Any] | None) -> None:
        """The run has another state now, from a checkpoint with these `facts`, which may be another run's."""
        self.facts = facts and {**facts, "reused": facts["reused"] or facts["run"] != self.name}
        self.settled = self.run.over or self.run.stage >= self.prefix.stages
        self.run.stage_over = self.keep

    def unfinished(self, run: Run) -> Path | None:
        """Where the state of a run lies while it is in these stages: whoever has their lock next goes on from it."""
        inside = self.settled and self.facts is None and run.stage < self.prefix.stages
        return self.part if inside else None

    def begin(self) -> None:
        """Leave a note of what is being made, by which a plan finds out whether anybody wants it."""
        prefix = self.prefix
        made = kept.made_of(self.run.spec, prefix.uses, prefix.options, prefix.stages)
        with going_on.without("notes of what runs share", self.name):
            kept.note(self.path.with_suffix(".json"), self.name, made)

    def abandon(self) -> None:
        """These stages cannot be trained: leave nothing of them."""
        sealed.remove(self.part)
        with contextlib.suppress(OSError):
            self.path.with_suffix(".json").unlink()

    def take_over(self) -> bool:
        """Go on from the file, if it is sound. Raises Unusable if it is, and the run cannot."""
        if (stamp := record.stamp(self.path)) is None:
            return False
        try:
            theirs, digest = sealed.read(self.path, self.run.device)
            state, facts = theirs["state"], theirs["facts"]
        except FileNotFoundError:
            return False
        except (sealed.Damaged, LookupError):
            said = f"damaged, it is not what was written; {sealed.set_aside(self.path)}"
            print(f"{self.path}: {said}; training these stages again", file=sys.stderr)
            return False
        self.run.stage_over = None  # for it ends the last of them now
        self.useless = stamp
        sealed.load_into(self.run, state, self.path)
        self.facts = {"begun_by": [], **facts, **self._facts(reused=True, digest=digest)}
        self.taken_at_once = theirs.get("runs_at_once", 1)
        if theirs.get("by") == self.keeper.key:  # an earlier try of this very run, killed before its own checkpoint
            self.keeper.start_earlier(theirs["started"], theirs["resumed"])
        return True

    def keep(self, run: Run) -> None:
        """Write the state of the run, if it has taken the last step of the prefix, after a digest of it."""
        if run.stage + 1 != self.prefix.stages:
            return
        cost = {"seconds": run.seconds, "steps": run.step, "peak_bytes": self.peak(), "energy_joules": self.joules()}
        facts = {"run": self.name, **cost, "begun_by": self.keeper.begun_by()}
        state = {**run.state(), "optimiser": None}  # its optimiser ends with it
        by = {"by": self.keeper.key, **{name: self.keeper.facts[name] for name in ("started", "resumed")}}
        content = sealed.content_of(self.path, {"state": state, "facts": facts, "runs_at_once": self.at_once(), **by})
        digest = hashlib.sha256(content).hexdigest()
        with going_on.without("what runs share: each trains it again", self.name):
            sealed.put(self.path, content)
        self.facts = {**facts, **self._facts(reused=False, digest=digest)}
        sealed.remove(self.part)
        self.release()

    def _facts(self, reused: bool, digest: str) -> dict[str, Any]:
        return {
            "key": self.key,
            "stages": self.prefix.stages,
            "of": len(self.run.courses),
            "reused": reused,
            "digest": digest,
        }
