"""Notes: small files that tell Snakemake which files are not what they would be made from today, and why.

Snakemake knows the inputs and params of the jobs that it ran itself in this folder. It does not know what a file from a
clone, or from a machine without Snakemake, was made from. And if a job fails that updates its files, it puts the old
ones back, but remembers the new inputs and params, so that the failed job looks done. What Reweigh makes says by
content what it was made from: a record, the report beside a split, the receipt beside a figure, the source file beside
raw data. Where that is something else than today's, the job gets a note as an input, which is newer than its outputs
and never had this content before: so the job runs, until its files say what today's do. The path of a note says why.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.artifacts import receipt
from reweigh.data.catalogue import Manifest
from reweigh.digest import file_digest
from reweigh.errors import RecordError

FOLDER = Path(".reweigh/stale")


def write(root: Path, reasons: Sequence[str], name: str, files: Iterable[str] = ()) -> str:
    """Write the note of `files` that are stale for these reasons; its path. Paths are relative to the project.

    Files from the future, by a clock that was wrong or a copy, would be newer than their note: they get its time.
    """
    note = FOLDER / "_and_".join(reasons) / name
    now = _write_anew(root / note)
    no_later(map(root.joinpath, files), now - 1)
    return note.as_posix()


def no_later(files: Iterable[Path], time: float) -> None:
    """Give files that are of a later time than this this one: what is made from them would else be older than they."""
    for path in files:
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > time:
                os.utime(path, (time, time))


@functools.cache
def _write_anew(note: Path) -> float:
    """Write a file with a content that it never had, once per process; its time."""
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{time.time_ns()}\n", encoding="utf-8")
    return note.stat().st_mtime


def since_receipt(stem: Path, basis: Mapping[str, Any]) -> list[str]:
    """Why the files `stem.*` are not what would be made from `basis` (as in `artifacts.receipt`); empty if they are.

    The reasons are `receipt` (none that can be read), `records`, `inputs`, `rendering` and `files` (altered since).
    """
    try:
        body = receipt.read(stem.with_name(f"{stem.name}.json"))
        before = {one["run"]: one["digest"] for one in body["records"]}
        altered = any(
            path.is_file() and file_digest(path) != stated
            for ending, stated in body["files"].items()
            if (path := stem.with_name(f"{stem.name}.{ending}"))
        )
        same = {"inputs": body["inputs"] == basis["inputs"], "rendering": body["rendering"] == basis["rendering"]}
    except (RecordError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["receipt"]
    same["records"] = before == {one["run"]: one["digest"] for one in basis["records"]}
    same["files"] = not altered
    return [part for part in ("records", "inputs", "rendering", "files") if not same[part]]


def since_fetch(home: Path, manifest: Path) -> list[str]:
    """Why the raw files in `home` are not what the manifest lists; by their source file and sizes, without a digest.

    The reasons are `source` (none that can be read, or of other content) and `files` (gone, or of another size).
    """
    try:
        files = canonical_json.read(home / "SOURCE.json")["files"]
        stated = {file["name"]: file["sha256"] for file in files}
        sizes = {file["name"]: file["bytes"] for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        return ["source"]
    editions = Manifest.load(manifest)[home.name].editions
    if not any(_is_of(stated, {file.name: file.sha256 for file in edition.files}) for edition in editions):
        return ["source"]
    there = {name: path.stat().st_size for name in sizes if (path := home / name).is_file()}
    return [] if there == sizes else ["files"]


def _is_of(stated: Mapping[str, str], listed: Mapping[str, str | None]) -> bool:
    """Whether the digests of a source file are those of an edition; where the manifest has none, any will do."""
    return stated.keys() == listed.keys() and all(stated[name] == one for name, one in listed.items() if one)
