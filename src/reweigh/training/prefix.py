"""Stages that several runs share, trained once: the state at their end is kept in `.reweigh/prefixes/KEY.pt`.

`Method.prefix` says which stages they are. A run that comes to a file goes on from it, bit for bit as if it had trained
the stages itself, and its record says whose they were and what they cost. A damaged file is ignored and made again.

Until then the state of the run that trains them lies in `KEY.part`. If it is stopped or killed, whichever run has the
lock next goes on from there: the work so far belongs to all that share it. What nobody wants any more is removed by
`records/kept.py`.
"""

import hashlib
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from reweigh.canonical_json import atomic_file
from reweigh.methods import base
from reweigh.records import kept
from reweigh.records.identity import with_prefix
from reweigh.training import shared
from reweigh.training.engine import Run
from reweigh.training.shared import Shared, Surroundings


def key_of(spec: Mapping[str, Any], prefix: base.Prefix, around: Surroundings) -> str:
    """The key of the prefix of a run: that of a run of the method that it uses, with its options."""
    return shared.key_of(with_prefix(spec, prefix.uses, prefix.options), prefix.stages, around)


class SharedPrefix(Shared):
    """The prefix of a run. `facts` are what the record says of it, None as long as it is not at its end.

    `peak()` is the peak memory of this process in bytes, `joules()` the energy of the run so far. Pass the `facts` of
    the run's checkpoint, if there is one.
    """

    what = "stages that they share"

    def __init__(
        self,
        run: Run,
        name: str,
        prefix: base.Prefix,
        key: str,
        peak: Callable[[], int],
        facts: dict[str, Any] | None = None,
        joules: Callable[[], float | None] = lambda: None,
        since: float | None = None,
        folder: Path = kept.FOLDER,
    ) -> None:
        super().__init__(run, name, folder / f"{key}.pt", since)
        self.part = self.path.with_suffix(".part")
        self.prefix, self.key, self.peak, self.joules = prefix, key, peak, joules
        self.go_on(facts)
        run.stage_over = self.keep

    def go_on(self, facts: dict[str, Any] | None) -> None:
        """The run has another state now, from a checkpoint with these `facts`, which may be another run's."""
        self.facts = facts and {**facts, "reused": facts["reused"] or facts["run"] != self.name}
        self.settled = self.run.over or self.run.stage >= self.prefix.stages

    def unfinished(self, run: Run) -> Path | None:
        """Where the state of a run lies while it is in these stages: whoever has their lock next goes on from it."""
        inside = self.settled and self.facts is None and run.stage < self.prefix.stages
        return self.part if inside else None

    def begin(self) -> None:
        """Leave a note of what is being made, by which a plan finds out whether anybody wants it."""
        prefix = self.prefix
        made = kept.made_of(self.run.spec, prefix.uses, prefix.options, prefix.stages)
        kept.note(self.path.with_suffix(".json"), self.name, made)

    def abandon(self) -> None:
        """These stages cannot be trained: leave nothing of them."""
        self.part.unlink(missing_ok=True)
        self.path.with_suffix(".json").unlink(missing_ok=True)

    def take_over(self) -> bool:
        """Go on from the file, if it is sound."""
        content = self._read()
        if content is None:
            return False
        self.run.stage_over = None  # for it ends the last of them now
        with io.BytesIO(content[32:]) as file:
            # The file is our own, and holds NumPy arrays and plain values beside tensors.
            theirs = torch.load(file, map_location=self.run.device, weights_only=False)
        self.run.load_state(theirs["state"])
        self.facts = {**theirs["facts"], **self._facts(reused=True, content=content)}
        return True

    def keep(self, run: Run) -> None:
        """Write the state of the run, if it has taken the last step of the prefix, after a digest of it."""
        if run.stage + 1 != self.prefix.stages:
            return
        cost = {"seconds": run.seconds, "steps": run.step, "peak_bytes": self.peak(), "energy_joules": self.joules()}
        facts = {"run": self.name, **cost}
        state = io.BytesIO()
        torch.save({"state": {**run.state(), "optimiser": None}, "facts": facts}, state)  # its optimiser ends with it
        content = self._digest(state.getvalue()) + state.getvalue()
        with atomic_file(self.path) as file:
            file.write(content)
        self.facts = {**facts, **self._facts(reused=False, content=content)}
        self.part.unlink(missing_ok=True)
        self.release()

    def _facts(self, reused: bool, content: bytes) -> dict[str, Any]:
        return {
            "key": self.key,
            "stages": self.prefix.stages,
            "of": len(self.run.courses),
            "reused": reused,
            "digest": hashlib.sha256(content).hexdigest(),
        }

    def _read(self) -> bytes | None:
        """The file, a digest of 32 bytes and the state; None if it is not there, or not what was written."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        if content[:32] == self._digest(content[32:]):
            return content
        print(f"{self.path}: damaged, it is not what was written; training these stages again", file=sys.stderr)
        return None

    def _digest(self, state: bytes) -> bytes:
        return hashlib.sha256(self.key.encode() + state).digest()
