"""A Workflow Run RO-Crate of all runs at a scale: everything that others need to check and to reuse them.

    write("paper", "crates/paper.zip")        # or a folder

The crate conforms to the profile Provenance Run Crate 0.5 (https://w3id.org/ro/wfrun/provenance/0.5) on RO-Crate 1.1.
It contains records, traces, attestations, scorecard, figures, code, config and lock; raw data are only named, by
address and sha256, and a user's own by their card, which is packed with the page of their comparison. Its date is the
end of its last run, so that the same state of the project gives the same bytes.
"""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from reweigh import canonical_json, os_errors
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.errors import ReweighError

METADATA = "ro-crate-metadata.json"
OURS = "reweigh-"  # the identifier of every crate of this project begins with it
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can store


def write(scale: str, to: str | Path | None = None, root: str | Path = ".") -> tuple[Path, str]:
    """Write the crate of a scale to a folder or a .zip file. Returns its path, and one line on its contents.

    It is written completely or not at all, and replaces an earlier crate. Raises ReweighError if there are no records,
    if one is broken, or if `to` exists and is no crate of this project.
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
            written = Path(work, "crate")
            crate.write(written)
            if target.suffix == ".zip":
                written = _zip(written, Path(work, "crate.zip"))
            if target.is_dir():
                os.replace(target, Path(work, "before"))
            os.replace(written, target)
    except OSError as error:
        why = os_errors.in_words(error) or error
        raise ReweighError(f"{target}: {why}; or choose another path with --to") from None
    artifacts = len(contents.artifacts)
    return target, f"{len(contents.records)} runs, {artifacts} figures and tables, {len(contents.files)} files"


def _zip(folder: Path, path: Path) -> Path:
    """A folder as a zip with the same bytes for the same files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(filter(Path.is_file, folder.rglob("*"))):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    return path


def _refuse_other(target: Path) -> None:
    """Raise ReweighError if `target` exists and is no crate of this project."""
    if not target.exists() or (target.is_dir() and target.suffix != ".zip" and not any(target.iterdir())):
        return
    if target.is_dir() == (target.suffix == ".zip") or not _is_ours(target):
        raise ReweighError(f"{target} exists and is no crate of this project; choose another path with --to")


def _is_ours(target: Path) -> bool:
    try:
        if target.is_dir():
            text = (target / METADATA).read_bytes()
        else:
            with zipfile.ZipFile(target) as archive:
                text = archive.read(METADATA)
        graph: list[dict[str, Any]] = canonical_json.parse(text)["@graph"]
        return any(entity["@id"] == "./" and str(entity.get("identifier", "")).startswith(OURS) for entity in graph)
    except (OSError, LookupError, TypeError, AttributeError, ValueError, zipfile.BadZipFile):
        return False
