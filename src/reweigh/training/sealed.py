"""States of runs on disk: a digest of 32 bytes, then what torch saved.

The digest covers the key in the file's name too, a digest of all that the state depends on. So a changed byte is
noticed, and so is the file of another run, or of other stages, that was given this name.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from reweigh.canonical_json import atomic_file

STATED = 32  # bytes of the digest


class Damaged(Exception):
    """A file is there, but it is not what was written under its name."""


class Unusable(Exception):
    """A file is what was written, but the run cannot go on from it; it may be half changed and is of no use any more.

    Its text is a line that says so.
    """


def write(path: Path, state: Any) -> str:
    """Write a state as KEY.ENDING, whole or not at all; the sha256 of the file."""
    saved = io.BytesIO()
    torch.save(state, saved)
    content = _digest(path.stem, saved.getbuffer()) + saved.getbuffer()
    with atomic_file(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read(path: Path, device: torch.device) -> tuple[dict[str, Any], str]:
    """A state that was written at `path`, its tensors on `device`, and the sha256 of the file.

    Raises FileNotFoundError, and Damaged for whatever else stands there. Want of memory is not its fault and is raised.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(str(error)) from None
    view = memoryview(content)
    if content[:STATED] != _digest(path.stem, view[STATED:]):
        raise Damaged("it is not what was written under this name")
    try:
        # The file is our own, and holds NumPy arrays and plain values beside tensors.
        state = torch.load(io.BytesIO(view[STATED:]), map_location=device, weights_only=False)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
    if not isinstance(state, dict):
        raise Damaged(f"it holds no state but a {type(state).__name__}")
    return state, hashlib.sha256(content).hexdigest()


def load_into(run: Any, state: dict[str, Any], path: Path) -> None:
    """Have a run go on from a state that was read from `path`. Raises Unusable if it cannot."""
    try:
        run.load_state(state)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise Unusable(
            f"{path}: the run cannot go on from it ({type(error).__name__}: {error}); going on without it"
        ) from (error)


def _digest(key: str, state: bytes | memoryview) -> bytes:
    told = hashlib.sha256(key.encode())
    told.update(state)
    return told.digest()
