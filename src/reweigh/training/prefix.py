"""Stages that several runs share, trained once: the state at their end is kept in `.reweigh/prefixes/KEY.pt`.

KEY is a digest of all that the stages depend on, and of nothing that comes after them (`Method.prefix` says which they
are). The first run at their end writes the file; later runs continue from it, bit for bit as if they had trained the
stages themselves. Runs that train them at the same time write the same content. A damaged file is ignored and made
again.
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
from reweigh.methods import base
from reweigh.records import record
from reweigh.training.engine import Run

FOLDER = Path(".reweigh") / "prefixes"


def key_of(spec: dict[str, Any], prefix: base.Prefix, split_digest: str, device: str, device_name: str) -> str:
    """The digest of all that a prefix of a run depends on."""
    alone = {**spec, "uses": prefix.uses, "method_options": dict(prefix.options)}
    asked = {part: alone[part] for part in ("data", "model", "training", "seed", "method_options")}
    made_by = [record.code_digest(alone), device, device_name, torch.__version__, np.__version__]
    return digest([asked, prefix.stages, split_digest, *made_by])


class SharedPrefix:
    """The prefix of a run under its key: reused if it is there, else kept when the run gets to its end.

    `peak()` is the peak memory of this process in bytes, `joules()` the energy of the run so far. `facts` are those of
    the record, `{key, reused}`; pass those of the run's checkpoint. `peak_bytes` and `energy_joules` are the cost of
    the prefix in the run that trained it, 0 if that is this one.
    """

    def __init__(
        self,
        run: Run,
        prefix: base.Prefix,
        key: str,
        peak: Callable[[], int],
        facts: dict[str, Any] | None = None,
        folder: Path = FOLDER,
        joules: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.run, self.prefix, self.key, self.peak, self.joules = run, prefix, key, peak, joules
        self.path = folder / f"{key}.pt"
        self.facts, self.peak_bytes = facts or {"key": key, "reused": False}, 0
        self.energy_joules: float | None = 0.0
        if run.stage < prefix.stages and not run.over and (kept := self._read()):
            run.load_prefix(kept["state"])
            self.facts, self.peak_bytes = {"key": key, "reused": True}, kept["peak_bytes"]
            self.energy_joules = kept.get("energy_joules")
        run.stage_over = self.keep

    def keep(self, run: Run) -> None:
        """Write the state of the run, if it is at the end of the prefix, after a digest of it."""
        if run.stage != self.prefix.stages:
            return
        content = io.BytesIO()
        taken = {"peak_bytes": self.peak(), "energy_joules": self.joules()}
        torch.save({"state": run.state(), **taken}, content)
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
            kept: dict[str, Any] = torch.load(io.BytesIO(whole[32:]), map_location=self.run.device, weights_only=False)
            return kept
        except FileNotFoundError:
            return None
        except Exception as error:
            print(f"{self.path}: damaged ({error}); training these stages again", file=sys.stderr)
            return None

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self.key.encode() + content).digest()
