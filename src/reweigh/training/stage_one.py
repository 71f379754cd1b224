"""Stage one, trained once for all methods that start from it: the state at its end is kept in `.reweigh/stages/KEY.pt`.

KEY is a digest of all that stage one depends on, and of nothing that comes after it. The first run at the end of stage
one writes the file; later runs continue from it, bit for bit as if they had trained stage one themselves. Runs that
train it at the same time write the same content. A damaged file is ignored and made again.
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
    """The digest of all that stage one of a run depends on. `options` are the names of the method options among it."""
    stage_options = {name: spec["method_options"][name] for name in options}
    alone = {
        **spec,
        "uses": "two_stage",
        "method_options": stage_options,
    }  # what all these methods have in common, and no more
    asked = {part: alone[part] for part in ("data", "model", "training", "seed", "method_options")}
    made_by = [record.code_digest(alone), device, device_name, torch.__version__, np.__version__]
    return digest([asked, split_digest, *made_by])


class StageOne:
    """Stage one of a run under its key: reused if it is there, else kept when the run gets to its end.

    `peak()` is the peak memory of this process in bytes, `joules()` the energy of the run so far. `facts` are those of
    the record, `{key, reused}`; pass those of the run's checkpoint. `peak_bytes` and `energy_joules` are the cost of
    stage one in the run that trained it, 0 if that is this one.
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
            self._continue_from(kept["state"])
            self.facts, self.peak_bytes = {"key": key, "reused": True}, kept["peak_bytes"]
            self.energy_joules = kept.get("energy_joules")
        run.method.at_end_of_stage_one = self.keep

    def keep(self) -> None:
        """Write the state of the run, which is at the end of stage one, after a digest of it."""
        content = io.BytesIO()
        taken = {"peak_bytes": self.peak(), "energy_joules": self.joules()}
        torch.save({"state": self.run.state(), **taken}, content)
        with atomic_file(self.path) as file:
            file.write(self._digest(content.getvalue()))
            file.write(content.getvalue())

    def _read(self) -> dict[str, Any] | None:
        """The content of the file; None if there is no file, or a damaged one."""
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

    def _continue_from(self, state: dict[str, Any]) -> None:
        """Bring the run to the end of stage one, and enter the next stage."""
        self.run.load_state({**state, "position": (0, 0, state["position"][2])})
        self.run.stage = 1
        self.run.enter()
