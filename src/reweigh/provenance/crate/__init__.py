"""A Workflow Run RO-Crate of what has been run: everything that a stranger needs to check it and to use it again.

    write("paper", "crates/paper.zip")        # or a folder

The crate conforms to the profile Provenance Run Crate 0.5 (https://w3id.org/ro/wfrun/provenance/0.5) on RO-Crate 1.1.
Records, traces, attestations, scorecard, figures, code, config and lock are packed; raw data are named, by address and
sha256. It is dated by the end of its last run, so that the same state of the project gives the same bytes.
"""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.errors import ReweighError

METADATA = "ro-crate-metadata.json"
OURS = "reweigh-"  # how the identifier of every crate that is written here begins
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def write(scale: str, to: str | Path | None = None, root: str | Path = ".") -> tuple[Path, str]:
    """Write the crate of a scale to a folder, or a file that ends in .zip; return where, and a line that says what.

    It is there whole or not at all, and replaces an earlier crate. Raises ReweighError if there are no records or a
    broken one, or if something else lies there.
    """
    from reweigh.provenance.crate.build import build
    from reweigh.provenance.crate.contents import read

    lookup("scale", scale, SCALES)
    root = Path(root)
    target = Path(to) if to is not None else root / "crates" / f"{scale}.zip"
    _refuse_other(target)
    contents = read(scale, root)
    crate = build(contents)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
            made = Path(work, "crate")
            crate.write(made)
            if target.suffix == ".zip":
                made = _zip(made, Path(work, "crate.zip"))
            if target.is_dir():
                os.replace(target, Path(work, "before"))
            os.replace(made, target)
    except OSError as error:
        raise ReweighError(f"{target}: {error}; make room or name another place with --to") from None
    drawn = len(contents.artifacts)
    return target, f"{len(contents.records)} runs, {drawn} figures and tables, {len(contents.files)} files"


def _zip(folder: Path, path: Path) -> Path:
    """A folder as a zip with the same bytes for the same files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    return path


def _refuse_other(target: Path) -> None:
    """Raise ReweighError if something lies at `target` that is no crate of this project."""
    if not target.exists() or (target.is_dir() and target.suffix != ".zip" and not any(target.iterdir())):
        return
    if target.is_dir() == (target.suffix == ".zip") or not _is_ours(target):
        raise ReweighError(f"{target} is there and is no crate of this project; name another place with --to")


def _is_ours(target: Path) -> bool:
    try:
        if target.is_dir():
            text = (target / METADATA).read_text()
        else:
            with zipfile.ZipFile(target) as archive:
                text = archive.read(METADATA).decode()
        graph: list[dict[str, Any]] = json.loads(text)["@graph"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False
    return any(one["@id"] == "./" and str(one.get("identifier", "")).startswith(OURS) for one in graph)
