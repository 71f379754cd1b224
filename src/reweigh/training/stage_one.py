"""Stage one trained once for all methods that start from it: its end is kept in `.reweigh/stages/KEY.pt`.

KEY is a digest of all that stage one depends on and of nothing that comes after it. Whoever gets to the end of stage
one writes the file; whoever finds it there goes on from it, bit for bit as if it had trained stage one itself. Runs at
the same time may all train it: they write the same. A file that is not what was written is ignored and made again.
"""

import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reweigh.canonical_json import atomic_file
from reweigh.digest import digest
from reweigh.records import record
from reweigh.training.engine import Run

FOLDER = Path(".reweigh") / "stages"


def key_of(spec: dict[str, Any], options: tuple[str, ...], split_digest: str, device: str, device_name: str) -> str:
    """The digest of all that stage one of a run depends on. `options` names the method's options among that."""
    said = {name: spec["method_options"][name] for name in options}
    alone = {**spec, "uses": "two_stage", "method_options": said}  # what all these methods have in common, and no more
    asked = {part: alone[part] for part in ("data", "model", "training", "seed", "method_options")}
    made_by = [record.code_digest(alone), device, device_name, torch.__version__, np.__version__]
    return digest([asked, split_digest, *made_by])


class StageOne:
    """Stage one of a run under its key: taken over if it is there, kept once the run gets to its end.

    `peak()` says how many bytes this process has held at most, `joules()` what the run took so far. `facts` is what the
    record says of stage one, `{key, reused}`; hand in the facts of the run's checkpoint. `peak_bytes` and
    `energy_joules` are what it took where it was trained, 0 if that is here.
    """

    def __init__(
        self,
        run: Run,
        key: str,
        peak: Callable[[], int],
        facts: dict[str, Any] | None = None,
        folder: Path = FOLDER,
        joules: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.run, self.key, self.peak, self.joules, self.path = run, key, peak, joules, folder / f"{key}.pt"
        self.facts, self.peak_bytes = facts or {"key": key, "reused": False}, 0
        self.energy_joules: float | None = 0.0
        if run.stage == 0 and not run.over and (kept := self._read()):
            self._go_on_from(kept["state"])
            self.facts, self.peak_bytes = {"key": key, "reused": True}, kept["peak_bytes"]
            self.energy_joules = kept.get("energy_joules")
        run.method.at_end_of_stage_one = self.keep

    def keep(self) -> None:
        """Write the state of the run, which is at the end of stage one, atomically, behind a digest of it."""
        content = io.BytesIO()
        taken = {"peak_bytes": self.peak(), "energy_joules": self.joules()}
        torch.save({"state": self.run.state(), **taken}, content)
        with atomic_file(self.path) as file:
            file.write(self._digest(content.getvalue()))
            file.write(content.getvalue())

    def _read(self) -> dict[str, Any] | None:
        """What the file holds; None if there is none, or if it is not what was written."""
        try:
            whole = self.path.read_bytes()
            if whole[:32] != self._digest(whole[32:]):
                raise ValueError("its content is not what was written")
            # The file is our own, and holds NumPy arrays and plain values beside tensors.
            return torch.load(io.BytesIO(whole[32:]), map_location=self.run.device, weights_only=False)
        except FileNotFoundError:
            return None
        except Exception as error:
            print(f"{self.path}: damaged ({error}); training stage one again", file=sys.stderr)
            return None

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self.key.encode() + content).digest()

    def _go_on_from(self, state: dict[str, Any]) -> None:
        """Bring the run to where stage one ended, and begin what comes after it."""
        self.run.load_state({**state, "position": (0, 0, state["position"][2])})
        self.run.stage = 1
        self.run.enter()
