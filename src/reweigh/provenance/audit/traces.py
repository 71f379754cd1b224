"""Traces, the arrays that runs logged beside their records: whether they exist, are unaltered, finite and no copies."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.config.cards import card_of, methods
from reweigh.errors import RecordError
from reweigh.os_errors import hides
from reweigh.provenance.audit.duplicates import duplicates
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.looking import looked
from reweigh.records import record
from reweigh.terminal import printable

Body = dict[str, Any]
UNREADABLE = (RecordError, OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError)
# No two trainings have these in common.
LEARNED = (
    "class_weights", "mean_weights", "train_features", "test_features", "validation_features", "test_margins",
    "validation_margins",
)  # fmt: skip
FEWEST_VALUES = 8  # an array of fewer different values, as of weights that never moved, may be equal by chance


def check_trace(run: str, body: Body, root: Path) -> Iterator[Link]:
    """The link of one run's trace; none where it has no trace and should have none."""
    if verdict := looked(_verdict, body, record.record_path(run, root)):
        yield Link("trace", run, *verdict)


def _verdict(body: Body, path: Path) -> tuple[str, str] | None:
    """State and detail of the trace of the record at `path`; None where it has none and should have none."""
    lacks = sorted(logs(body) - set((body["trace"] or {}).get("arrays", ())))
    if body["trace"] is None:
        if lacks:
            return "broken", f"its method logs {', '.join(lacks)}, but its record names no trace"
        return ("broken", "it exists, but its record names no trace") if path.with_suffix(".npz").exists() else None
    file = path.with_name(body["trace"]["file"])
    if not file.is_file():
        return "missing", f"{file.name} does not exist"
    if file != path.with_suffix(".npz"):
        return "broken", f"it names {file.name}, which is another run's"
    if file.is_symlink():
        return "broken", f"it is a link to {printable(os.readlink(file))}, and not a file of its own"
    fault = _fault(body, path) or (f"it lacks {', '.join(lacks)}, which its method logs" if lacks else "")
    return "broken" if fault else "intact", fault


def logs(body: Body) -> set[str]:
    """The arrays that a finished run must have left, by its spec."""
    spec = body["spec"]
    if body["status"] != "finished":
        return set()
    training = spec["training"]
    kept = {"train_features"} if training.get("keep_features") else set()
    kept |= {f"{training.get('evaluate_on') or 'test'}_margins"} if training.get("keep_margins") else set()
    return kept | card_of(spec["uses"]).traces(spec["method_options"], body["steps"])


def _fault(body: Body, path: Path) -> str:
    """How a trace differs from what its record says, or what is not finite in it although its run finished.

    Raises OSError where the system lets nobody look at it.
    """
    try:
        file = record.trace_path(path, body)
        with np.load(file, allow_pickle=False) as stored:  # type: ignore[arg-type]
            arrays = {name: stored[name] for name in stored.files}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        if shapes != body["trace"]["arrays"]:
            return f"its arrays are {shapes}, the record says {body['trace']['arrays']}"
        infinite = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if infinite and body["status"] == "finished":
            return f"{', '.join(infinite)}: not finite, although its run finished"
        card = methods().get(body["spec"]["uses"])  # none of a method that is gone
        sizes = body["split"]["sizes"]["train"]
        return card.contradicts(body["spec"]["method_options"], sizes, arrays) if card else ""
    except (*UNREADABLE, TypeError, ArithmeticError) as error:
        if hides(error):
            raise
        return str(error) or type(error).__name__


def without_record(scale: str, root: Path) -> Iterator[Link]:
    """Traces without a record: their run was killed between writing the two, or the record was deleted."""
    for run, path in record.files_of(scale, root, "npz").items():
        if not path.with_suffix(".json").exists():
            yield Link("trace", run, "stale", f"{path.name} has no record")


def duplicate_traces(records: dict[str, Body], root: Path, intact: Collection[str]) -> dict[str, str]:
    """The runs with a logged array of another training; each with what is wrong. Only `intact` traces are looked at."""
    digests: dict[str, list[tuple[str, str]]] = {}
    for run, body in records.items():
        if body["trace"] is not None and run in intact:
            with np.load(record.record_path(run, root).with_suffix(".npz"), allow_pickle=False) as stored:
                arrays = [(name, stored[name]) for name in LEARNED if name in stored.files]
            digests[run] = [(name, _digest(array)) for name, array in arrays if len(np.unique(array)) > FEWEST_VALUES]
    return duplicates(records, digests, "its trace is that of", of_prefix=True)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
