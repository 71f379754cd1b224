"""The far end of the chain, as an audit checks it: raw files against the manifest, splits drawn again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.data import load, manifest
from reweigh.data.arrays import RawData, Split
from reweigh.data.split import draw
from reweigh.digest import canonical, file_digest
from reweigh.errors import ReweighError

Found = tuple[str, str, str, str]  # kind, name, state, detail: a link
Records = dict[str, dict[str, Any]]


def check_sources(records: Records, root: Path, redraw: bool = True) -> Iterator[Found]:
    """Links `raw` (one a file that records name) and `split` (one a split: its file, and what raw files give today)."""
    datasets = sorted({body["spec"]["data"]["dataset"] for body in records.values()})
    at_hand = {name: _at_hand(name, root) for name in datasets}
    yield from _raw_files(records, root, at_hand)
    for name in datasets:  # one data set at a time: they can be large
        mine = {run: body for run, body in records.items() if body["spec"]["data"]["dataset"] == name}
        yield from _splits(mine, root, at_hand[name], redraw)


def _at_hand(dataset: str, root: Path) -> str:
    """Put a data set into data/raw if that needs no download; why it cannot be had, empty if it is there."""
    data = root / "data"
    try:
        rows = manifest.status(data / "raw", manifest=data / "manifest.yaml")
        where = next((row["where"] for row in rows if row["dataset"] == dataset), "by hand")
        if where not in ("raw", "embedded", "mirror"):
            return f"the raw files are not here; get them with: reweigh fetch {dataset}"
        manifest.ensure(dataset, data / "raw", manifest=data / "manifest.yaml")
    except (ReweighError, OSError) as error:
        return str(error)
    return ""


def _raw_files(records: Records, root: Path, at_hand: dict[str, str]) -> Iterator[Found]:
    catalogue = manifest.Manifest.load(root / "data/manifest.yaml")
    named = {canonical(file): file for body in records.values() for file in body["raw"]}
    seen = set()
    for file in (named[key] for key in sorted(named)):
        name = f"{file['dataset']}/{file['name']}"
        if (name, file["sha256"]) not in seen:
            seen.add((name, file["sha256"]))
            yield ("raw", name, *_raw_file(file, catalogue, root, at_hand.get(file["dataset"], "not known")))


def _raw_file(file: dict[str, Any], catalogue: manifest.Manifest, root: Path, why_not: str) -> tuple[str, str]:
    editions = {edition.name: edition for edition in catalogue[file["dataset"]].editions}
    entries = editions[file["edition"]].files if file["edition"] in editions else ()
    promised = next((entry for entry in entries if entry.name == file["name"]), None)
    if promised is None:
        return "broken", f"the manifest has no such file in edition {file['edition']}"
    if promised.sha256 and promised.sha256 != file["sha256"]:
        return "broken", f"records say sha256 {str(file['sha256'])[:12]}, the manifest {promised.sha256[:12]}"
    path = root / "data/raw" / file["dataset"] / file["name"]
    if not path.is_file():
        return "unverifiable", why_not or f"{path} is not there; get it with: reweigh fetch {file['dataset']}"
    if (found := file_digest(path)) != file["sha256"]:
        return "broken", f"{path} has sha256 {found[:12]}, records say {str(file['sha256'])[:12]}"
    return "intact", ""


def _splits(records: Records, root: Path, why_not: str, redraw: bool) -> Iterator[Found]:
    """One link for each different split: methods of a setting share theirs, so it is drawn again once."""
    by_split: dict[tuple[str, str, str], dict[str, Any]] = {}
    for body in records.values():
        split = body["split"]
        by_split.setdefault((split["path"], split["digest"], split["recipe_digest"]), body)
    raw: dict[bytes, RawData] = {}
    for (path, stated, _), body in sorted(by_split.items(), key=lambda item: item[0]):
        if altered := _altered(root / path, stated):
            yield "split", path, "broken", altered
            continue
        if why_not or not redraw:
            yield "split", path, "unverifiable", why_not or "not drawn again: that was not asked for"
            continue
        data = body["spec"]["data"]
        key = canonical(data["options"])
        try:
            if key not in raw:
                raw = {key: load.read(data["dataset"], data["options"], root / "data/raw")}
            found = draw(raw[key], data["split"], body["spec"]["seed"]).digest()
        except (ReweighError, OSError) as error:
            yield "split", path, "unverifiable", str(error)
            continue
        if found == stated:
            yield "split", path, "intact", ""
        else:
            detail = f"drawn again it has digest {found[:12]}, records say {stated[:12]}"
            yield "split", path, _stale_or_broken(body, root), detail


def _altered(path: Path, stated: str) -> str:
    """What is wrong with a split's file, if it is there and wrong; a file that is not there can be drawn again."""
    if not path.is_file():
        return ""
    try:
        found = Split.from_bytes(path.read_bytes()).digest()
    except (OSError, ValueError, KeyError):
        return f"{path} cannot be read; delete it and its .json, and it is drawn again"
    return "" if found == stated else f"{path} has digest {found[:12]}, records say {stated[:12]}"


def _stale_or_broken(body: dict[str, Any], root: Path) -> str:
    """A split that comes out differently is stale where its recipe or code changed, else broken."""
    from reweigh.data.obtain import recipe_digest

    return "broken" if recipe_digest(body["spec"], root / "data") == body["split"]["recipe_digest"] else "stale"
