"""What a record says of its run beside numbers of the run itself: examples by group, memory, the file of the arrays."""

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reweigh import canonical_json
from reweigh.data.arrays import PARTS, npz_bytes
from reweigh.digest import file_digest
from reweigh.training.engine import Run


def group_sizes(run: Run) -> dict[str, list[int]] | None:
    """Examples of each group in each part, of the groups that the run is measured by; None where these are labels."""
    split, measured = run.parts.split, run.evaluation
    if measured.by is None:
        return None if measured.group_is_label else split.group_sizes()
    known = {name: run.parts.groups_of(getattr(split, name), train=name != "test") for name in PARTS}
    return {
        name: np.bincount(groups, minlength=measured.groups).tolist()
        for name, groups in known.items()
        if groups is not None
    }


def peak_bytes(device: torch.device) -> int:
    """The most memory held at once, in bytes: allocated on the GPU, or resident in this process since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024  # kibibytes on Linux, bytes on macOS


def write_trace(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Write the logged arrays beside the record, before it; their file, digest and shapes, for the record."""
    if not arrays:
        return None
    trace = canonical_json.write(path.with_suffix(".npz"), npz_bytes(arrays))
    return {
        "file": trace.name,
        "sha256": file_digest(trace),
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
