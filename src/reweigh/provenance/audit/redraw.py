"""`reweigh audit --redraw`: render every artifact again, in a fresh place, and compare the bytes.

A receipt shows that a picture is the one that was made then, and not that these records make it. Rendering again does:
the same records, code and versions give the same csv, png, pdf and notebook. One link `redraw` an artifact:

- intact: csv and png are, byte for byte, what is made now; so are pdf and notebook, where they are there, else what the
  receipt says of them;
- broken: they are not, though the receipt is of today's records and code, made with today's versions;
- unverifiable: they are not, and were made with other versions, or from what has changed since (the receipt's own link
  says so); or it cannot be rendered here.

The fresh place is a folder whose config, data, notebooks and results are links to the project's.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.digest import PACKAGE, file_digest
from reweigh.errors import RecordError
from reweigh.listing import visible
from reweigh.provenance.audit.links import Link, with_progress

READ = ("config", "data", "docs", "envs", "notebooks", "results", "src", "workflow")  # what rendering may read
BASIS = ("records", "inputs", "rendering", "beside")  # of a receipt: what an artifact is made from, and by what code
Verdict = tuple[str, str]  # state, detail


def redraw(scale: str, root: str | Path = ".", jobs: int | None = None) -> list[Link]:
    """One link for each artifact of a scale that has files; `jobs` at a time, by default one for each core."""
    root = Path(root).resolve()
    stems = sorted({path.with_suffix("") for path in visible(root / "figures" / scale, "*/*.csv")})
    with tempfile.TemporaryDirectory(prefix="reweigh-redraw-") as folder:
        place = Path(folder)
        for name in READ:
            if (root / name).exists():
                (place / name).symlink_to(root / name, target_is_directory=True)
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            names = [stem.relative_to(root) for stem in stems]
            waiting = [pool.submit(_redrawn, name, root, place) for name in names]
            return [Link("redraw", name.as_posix(), *one.result())
                    for name, one in with_progress(list(zip(names, waiting, strict=True)), "artifacts")]  # fmt: skip


def _redrawn(name: Path, root: Path, place: Path) -> Verdict:
    """The state of one artifact, by what is made of it in the fresh place."""
    # Of records that are not there the receipt, which names those that were, says whether they were there then.
    command = [sys.executable, "-m", "reweigh.cli", "render", name.as_posix(), "--missing", "skip"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_paths())}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return "unverifiable", f"it cannot be rendered here: {why}"
    return compared(root / name, place / name)


def _paths() -> Iterator[str]:
    """Where the rendering process finds this package, whatever it was started with."""
    yield str(PACKAGE.parent)
    if others := os.environ.get("PYTHONPATH"):
        yield others


def compared(there: Path, again: Path) -> Verdict:
    """The state of an artifact's files (a path without ending) against those that were just rendered."""
    then, now = _receipt(there), _receipt(again)
    different = [ending for ending in MADE if _stated(there, ending, then) not in (None, now["files"][ending])]
    if not different:
        return "intact", ""
    what = f"other bytes: {', '.join(different)}"
    if then and (moved := [part for part in BASIS if then.get(part) != now.get(part)]):
        return "unverifiable", f"{what}; made from what has changed since ({', '.join(moved)})"
    if then and (versions := _versions(then["environment"], now["environment"])):
        return "unverifiable", f"{what}; {versions}"
    return "broken", what


def _stated(there: Path, ending: str, body: dict[str, Any]) -> str | None:
    """The digest of a file; of one that is not there, as its receipt states it."""
    path = Path(f"{there}.{ending}")
    return file_digest(path) if path.is_file() else body.get("files", {}).get(ending)


def _receipt(stem: Path) -> dict[str, Any]:
    """A receipt; empty where there is no sound one, which its own link says."""
    try:
        return receipt.read(Path(f"{stem}.json"))
    except RecordError:
        return {}


def _versions(then: dict[str, str], now: dict[str, str]) -> str:
    """In which libraries two receipts differ."""
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return ", ".join(f"made with {name} {then.get(name)}, here {now.get(name)}" for name in names)
