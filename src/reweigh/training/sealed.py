"""States of runs on disk: a line that says whose state it is, with a digest; then what torch saved.

The line has the key in the file's name, a digest of all that the state depends on; its own digest covers the key and
what torch saved. So a changed byte is noticed, and so is the file of another run, or of other stages, that was given
this name. Nothing else is unpickled than tensors, plain values and NumPy arrays: what a stranger wrote, with the right
digest, runs no code.

    KEY.pt             the last state
    KEY.pt.previous    the one before, where it is kept: from it a run goes on if the last one is damaged
    KEY.pt.damaged     what stood there and was not what was written, for whoever wants to know what became of it
"""

import contextlib
import hashlib
import io
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from reweigh import os_errors
from reweigh.canonical_json import atomic_file, rename

HEADER = re.compile(rb"reweigh state 1 of ([0-9A-Za-z_-]{1,100}), sha256 ([0-9a-f]{64})\n")
PREVIOUS, DAMAGED = ".previous", ".damaged"
_KINDS = (*"?bBhHiIlLqQefd", "U1", "S1")  # of arrays: truth values, whole numbers, floats, texts
ARRAYS = [
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.ndarray,
    np.dtype,
    bytes,  # of an empty array
    *{type(np.dtype(kind)) for kind in _KINDS},
]


class Damaged(Exception):
    """A file is there, but it is not what was written under its name."""


class Unusable(Exception):
    """A file is what was written, but the run cannot go on from it; it may be half changed and is of no use any more.

    Its text is a line that says so.
    """


def write(path: Path, state: Any, keep_previous: bool = False) -> str:
    """Write a state as KEY.ENDING, whole or not at all; the sha256 of the file. What stood there may be kept."""
    content = content_of(path, state)
    put(path, content, keep_previous)
    return hashlib.sha256(content).hexdigest()


def content_of(path: Path, state: Any) -> bytes:
    """What stands in the file of a state at `path`."""
    saved, key = io.BytesIO(), _key(path)
    torch.save(state, saved)
    return f"reweigh state 1 of {key}, sha256 {_digest(key, saved.getbuffer())}\n".encode() + saved.getbuffer()


def put(path: Path, content: bytes, keep_previous: bool = False) -> None:
    """Write such a content, whole or not at all."""
    with atomic_file(path, previous_of(path) if keep_previous else None) as file:
        file.write(content)


def read(path: Path, device: torch.device) -> tuple[dict[str, Any], str]:
    """A state that was written at `path`, its tensors on `device`, and the sha256 of the file.

    Raises FileNotFoundError, and Damaged for whatever else stands there. Want of memory is not its fault and is raised.
    """
    try:
        if path.exists() and not path.is_file():
            raise Damaged("it is not a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in os_errors.LIMITS:
            raise
        raise Damaged(str(error)) from None
    header = HEADER.match(content)
    if header is None:
        raise Damaged("it is not what was written: it does not begin as a state does")
    key, state = header[1].decode(), memoryview(content)[header.end() :]
    if key != _key(path):
        raise Damaged(f"it is not what was written under this name, but that of {key[:12]}")
    if header[2].decode() != _digest(key, state):
        raise Damaged("it is not what was written under this name")
    try:
        loaded = load(io.BytesIO(state), device)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except pickle.UnpicklingError:  # torch says in many lines how to read it nevertheless
        raise Damaged("it holds something else than tensors, arrays and plain values") from None
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
    if not isinstance(loaded, dict):
        raise Damaged(f"it holds no state but a {type(loaded).__name__}")
    return loaded, hashlib.sha256(content).hexdigest()


def load(file: BinaryIO, device: torch.device | None = None) -> Any:
    """What torch saved, of tensors, plain values and NumPy arrays of numbers. Raises an error at anything else."""
    with torch.serialization.safe_globals(ARRAYS):
        return torch.load(file, map_location=device, weights_only=True)


def load_into(run: Any, state: dict[str, Any], path: Path) -> None:
    """Have a run go on from a state that was read from `path`. Raises Unusable if it cannot."""
    try:
        run.load_state(state)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise Unusable(f"{path}: the run cannot go on from it ({why}); going on without it") from error


# --- what lies beside it ---------------------------------------------------------------------------------------------


def previous_of(path: Path) -> Path:
    """Where the state before the one at `path` is kept."""
    return path.with_name(path.name + PREVIOUS)


def set_aside(path: Path) -> str:
    """Rename a damaged file, so that it is not read again; what became of it, in words. It replaces an earlier one."""
    aside = path.with_name(path.name.removesuffix(PREVIOUS) + DAMAGED)
    try:
        rename(path, aside)
    except OSError:  # read-only: then it is read again next time
        return "left there"
    return f"set aside as {aside.name}"


def remove(path: Path) -> None:
    """Remove the state at `path`, with what lies beside it, as far as the disk lets."""
    for one in (path, previous_of(path), path.with_name(path.name + DAMAGED)):
        with contextlib.suppress(OSError):
            one.unlink()


def _key(path: Path) -> str:
    return path.name.partition(".")[0]


def _digest(key: str, state: bytes | memoryview) -> str:
    told = hashlib.sha256(os.fsencode(key))
    told.update(state)
    return told.hexdigest()
