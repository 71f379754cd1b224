"""What is kept in `.reweigh/prefixes` of stages that runs share, and removing what no run wants any more.

    KEY.pt, KEY.part    the state at the end of the stages, and before (`training/prefix.py`)
    *.previous, *.damaged    the state before that one, and what was not what was written (`training/sealed.py`)
    KEY.json            the note: which run trains them, and a digest of what decides them, as a plan can compute it
    KEY.lock            whoever has this lock is at work on them

Needs no torch: so a plan finds out what its runs want, though it cannot compute their keys (`training/shared.py`).
"""

import contextlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from reweigh import canonical_json, locks
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.records import record
from reweigh.records.identity import decisive, with_prefix

FOLDER = Path(".reweigh") / "prefixes"
STATES = (".pt", ".part")
# What has changed since stays: processes of older code, or with specs of their own, may still be at it.
AGE_SECONDS = 86_400
NAME = re.compile(
    r"\.?([0-9a-f]{64})(\.pt|\.part|\.json)(\.previous|\.damaged)?(\.[0-9a-f]+\.tmp)?"
)  # .tmp: half written by one killed then


def made_of(spec: Mapping[str, Any], uses: str, options: Mapping[str, Any], stages: int, root: Path = Path()) -> str:
    """The digest of what decides the first `stages` stages of a run, by today's code, but for raw bytes and machine.

    These stages are those of the method that `uses` names with these `options`.
    """
    first = with_prefix(spec, uses, options)
    decides = [stages, decisive(first, stages), record.code_digest(first), recipe_digest(first, root / "data")]
    return digest(decides)


def note(path: Path, run: str, made: str) -> None:
    """Write at `path` which run trains the stages, and what they are made of."""
    canonical_json.write(path, json.dumps({"run": run, "made_of": made}) + "\n")


def noted(path: Path) -> str | None:
    """What the stages are made of, by the note at `path`; None if it does not say, as of a version before notes."""
    try:
        return str(canonical_json.read(path)["made_of"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def locked(path: Path) -> IO[str] | None:
    """The lock file at `path`, locked by this process and open; None if another has it, or there are no locks."""
    while True:
        try:
            file = locks.opened(path)
        except (OSError, locks.NotALock):
            return None
        try:
            if not locks.take(file):
                file.close()
                return None
        except (OSError, locks.NoLocks):
            file.close()
            return None
        if locks.is_at(file, path):  # else its last holder has removed it since it was opened
            return file
        file.close()


# --- removing --------------------------------------------------------------------------------------------------------


def remove_unwanted(wanted: Iterable[str], folder: Path = FOLDER, now: float | None = None) -> int:
    """Remove the states of stages that are made of nothing `wanted`; how many bytes. Says how many MB on stderr.

    What changed within a day stays, and what somebody is at work on. Files of other names are left alone, and so is
    the folder `whole`: a link takes a few bytes.
    """
    wanted, before = set(wanted), (time.time() if now is None else now) - AGE_SECONDS
    keys = size = 0
    for key, files in sorted(_files(folder).items()):
        if noted(folder / f"{key}.json") in wanted or any(_changed(file) > before for file in files):
            continue
        if (lock := locked(folder / f"{key}.lock")) is None:
            continue
        with lock:
            if not any(_changed(file) > before for file in files):  # still so, with the lock
                size += sum(map(_removed, files))
                keys += 1
            if locks.is_at(lock, folder / f"{key}.lock"):
                (folder / f"{key}.lock").unlink()
    if keys:
        print(
            f"removed {size / 1e6:.1f} MB of {FOLDER}: {keys} shared stages of older code or config",
            file=sys.stderr,
        )
    return size


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each key in the folder, without locks."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if (match := NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                found.setdefault(match[1], []).append(folder / entry.name)
    return found


def _changed(file: Path) -> float:
    """When a file was written (seconds, as `time.time()` counts them); for ever young if another has removed it."""
    try:
        return file.lstat().st_mtime
    except OSError:
        return math.inf


def _removed(file: Path) -> int:
    """Remove a file; its bytes, 0 if that cannot be done."""
    try:
        size = file.lstat().st_size
        file.unlink()
    except OSError:
        return 0
    return size
