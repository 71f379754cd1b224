"""The far end of the chain, as an audit checks it: what is embedded, raw files, their receipts, splits drawn again.

Only the manifest says what the bytes of a data set must be. Records, the receipt beside the raw files (`SOURCE.json`)
and the packed files in data/embedded are each held against it, and a split against what the raw files give today.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.data import load, manifest, transfer
from reweigh.data.arrays import RawData, Split
from reweigh.data.catalogue import Edition, Manifest
from reweigh.data.obtain import recipe, recipe_digest
from reweigh.data.split import draw
from reweigh.digest import canonical, file_digest
from reweigh.errors import DataError, ReweighError
from reweigh.provenance.audit.links import Link, watched

Records = dict[str, dict[str, Any]]
Verdict = tuple[str, str]  # state, detail


def check_sources(records: Records, root: Path, redraw: bool = True) -> Iterator[Link]:
    """Links `embedded`, `raw` (a file that records name, or a receipt) and `split` (its files, and what raw gives)."""
    catalogue = Manifest.load(root / "data/manifest.yaml")
    datasets = sorted({file["dataset"] for body in records.values() for file in body["raw"]} & {*catalogue.datasets})
    if redraw and records:
        yield from _embedded(catalogue, root)
    for name in datasets:  # before anything is put in place, which writes a receipt anew
        yield from _receipt(catalogue, name, root)
    at_hand = {name: _at_hand(name, root) for name in datasets}
    raw = list(_raw_files(records, catalogue, root, at_hand))
    yield from (link for link, _ in raw)
    unsound = {key: f"{link.name} is {link.state}: {link.detail}" for link, key in raw if link.state != "intact"}
    yield from _splits(records, root, unsound, redraw)


def _at_hand(dataset: str, root: Path) -> str:
    """Put a data set into data/raw if that needs no download; why it cannot be had, empty if it is there."""
    data = root / "data"
    try:
        rows = manifest.status(data / "raw", manifest=data / "manifest.yaml")
        where = next((row["where"] for row in rows if row["dataset"] == dataset), "by hand")
        if where in ("embedded", "mirror"):
            manifest.ensure(dataset, data / "raw", manifest=data / "manifest.yaml")
        elif where != "raw":
            return f"the raw files are not here; get them with: reweigh fetch {dataset}"
    except (ReweighError, OSError) as error:
        return str(error)
    return ""


# --- raw files -------------------------------------------------------------------------------------------------------


def _embedded(catalogue: Manifest, root: Path) -> Iterator[Link]:
    """Every packed file of data/embedded, unpacked, against the manifest."""
    files = [
        (f"data/embedded/{file.embedded}", file)
        for dataset in catalogue.datasets.values()
        for edition in dataset.editions
        for file in edition.files
        if file.embedded
    ]
    with tempfile.TemporaryDirectory(prefix="reweigh-audit-") as folder:
        for path, file in watched(files, "embedded data"):
            if not (root / path).is_file():
                yield Link("embedded", path, "missing", "the manifest names it, and it is not there")
                continue
            try:
                transfer.place(root / path, Path(folder, Path(file.name).name), file.expected)
                yield Link("embedded", path, "intact")
            except (DataError, ValueError) as error:
                yield Link("embedded", path, "broken", _shown(error, root))


def _receipt(catalogue: Manifest, dataset: str, root: Path) -> Iterator[Link]:
    """What SOURCE.json says of the raw files beside it, if there are any."""
    home = root / "data/raw" / dataset
    editions = {edition.name: edition for edition in catalogue[dataset].editions}
    if any((home / file.name).is_file() for edition in editions.values() for file in edition.files):
        yield Link("raw", f"{dataset}/{manifest.RECEIPT}", *_said(home, dataset, editions))


def _said(home: Path, dataset: str, editions: dict[str, Edition]) -> Verdict:
    path = home / manifest.RECEIPT
    if not path.is_file():
        return "missing", "it is not there, though raw files are"
    try:
        body = json.loads(path.read_bytes())
        edition = editions.get(body["edition"])
        if body["dataset"] != dataset or edition is None:
            return "broken", f"it speaks of {body['dataset']}, edition {body['edition']}"
        promised = {file.name: file for file in edition.files}
        if sorted(file["name"] for file in body["files"]) != sorted(promised):
            return "broken", f"it does not name the files of edition {edition.name}"
        for file in body["files"]:
            known = promised[file["name"]]
            if (known.sha256 or file["sha256"], known.bytes or file["bytes"]) != (file["sha256"], file["bytes"]):
                return "broken", f"it says {file['name']} has sha256 {str(file['sha256'])[:12]}, the manifest does not"
            urls = (*known.urls, *(edition.archives[known.archive].urls if known.archive else ()))
            if file["source"] not in ("present", *manifest.SOURCES):
                return "broken", f"it says that {file['name']} is from {file['source']!r}"
            if file["url"] is not None and file["url"] not in urls:
                return "stale", f"the manifest does not know {file['url']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "broken", f"it is not what a receipt holds ({error!r})"
    return "intact", ""


def _raw_files(
    records: Records, catalogue: Manifest, root: Path, at_hand: dict[str, str]
) -> Iterator[tuple[Link, bytes]]:
    """A link for each different raw file that records name, and the key of that file (see `_key`)."""
    named = {_key(file): file for body in records.values() for file in body["raw"]}
    for key, file in sorted(named.items()):
        name = f"{file['dataset']}/{file['name']}"
        yield Link("raw", name, *_raw_file(file, catalogue, root, at_hand.get(file["dataset"], ""))), key


def _key(file: dict[str, Any]) -> bytes:
    return canonical([file[part] for part in ("dataset", "edition", "name", "sha256")])


def _raw_file(file: dict[str, Any], catalogue: Manifest, root: Path, why_not: str) -> Verdict:
    if file["dataset"] not in catalogue.datasets:
        return "broken", f"the manifest has no data set {file['dataset']}"
    editions = {edition.name: edition for edition in catalogue[file["dataset"]].editions}
    entries = editions[file["edition"]].files if file["edition"] in editions else ()
    promised = next((entry for entry in entries if entry.name == file["name"]), None)
    stated = str(file["sha256"])[:12]
    if promised is None:
        return "broken", f"the manifest has no such file in edition {file['edition']}"
    if promised.sha256 and promised.sha256 != file["sha256"]:
        return "broken", f"records say sha256 {stated}, the manifest {promised.sha256[:12]}"
    path = root / "data/raw" / file["dataset"] / file["name"]
    if not path.is_file():
        return "unverifiable", why_not or f"it is not there; get it with: reweigh fetch {file['dataset']}"
    if (found := file_digest(path)) != file["sha256"]:
        return "broken", f"it has sha256 {found[:12]}, records say {stated}"
    return "intact", ""


# --- splits ----------------------------------------------------------------------------------------------------------


def _splits(records: Records, root: Path, unsound: dict[bytes, str], redraw: bool) -> Iterator[Link]:
    """One link for each different split: methods of a setting share theirs, so it is drawn again once."""
    by_split: dict[tuple[str, str, str], dict[str, Any]] = {}
    for body in records.values():
        split = body["split"]
        by_split.setdefault((split["path"], split["digest"], split["recipe_digest"]), body)
    # Ordered by what is read for them, and one data set at a time: they can be large.
    ordered = sorted(by_split.items(), key=lambda item: (canonical(_source(item[1])), item[0]))
    raw: dict[bytes, RawData] = {}
    for (path, stated, _), body in watched(ordered, "splits"):
        if altered := _altered(root / path, body):
            yield Link("split", path, *altered)
            continue
        why_not = next((unsound[key] for file in body["raw"] if (key := _key(file)) in unsound), "")
        if why_not or not redraw:
            yield Link("split", path, "unverifiable", why_not or "not drawn again: that was not asked for")
            continue
        source, key = _source(body), canonical(_source(body))
        try:
            if key not in raw:
                raw = {key: load.read(source["dataset"], source["options"], root / "data/raw")}
            found = draw(raw[key], body["spec"]["data"]["split"], body["spec"]["seed"]).digest()
        except (ReweighError, OSError) as error:
            yield Link("split", path, "unverifiable", str(error))
            continue
        yield Link("split", path, *_compared(found, stated, body, root))


def _source(body: dict[str, Any]) -> dict[str, Any]:
    return {key: body["spec"]["data"][key] for key in ("dataset", "options")}


def _compared(found: str, stated: str, body: dict[str, Any], root: Path) -> Verdict:
    """A split that comes out differently is stale where its recipe or code changed, else broken."""
    if found == stated:
        return "intact", ""
    same_recipe = recipe_digest(body["spec"], root / "data") == body["split"]["recipe_digest"]
    return "broken" if same_recipe else "stale", f"drawn again it has digest {found[:12]}, records say {stated[:12]}"


def _altered(path: Path, body: dict[str, Any]) -> Verdict | None:
    """What is wrong with a split's two files, if they are there and wrong; absent, they can be drawn again."""
    report, stated = path.with_suffix(".json"), body["split"]["digest"]
    if path.is_file() != report.is_file():
        return "missing", f"{(path if report.is_file() else report).name} is not there, its companion is"
    if not path.is_file():
        return None
    try:
        split = Split.from_bytes(path.read_bytes())
    except Exception:  # a damaged archive raises whatever its damage leads to
        return "broken", "it cannot be read"
    if (found := split.digest()) != stated:
        return "broken", f"it has digest {found[:12]}, records say {stated[:12]}"
    try:
        said = json.loads(report.read_bytes())
        expected = {
            "digest": stated,
            "recipe": recipe(body["spec"]),
            "sizes": split.sizes(),
            "group_sizes": split.group_sizes(),
            "class_names": list(split.class_names),
            "group_names": list(split.group_names),
        }
        wrong = [name for name, value in expected.items() if said[name] != value]
        files = [_key(file) for file in said["raw"]] != [_key(file) for file in body["raw"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "broken", f"{report.name} is not what the report of a split holds ({error!r})"
    if wrong or files:
        return "broken", f"{report.name} says otherwise: {', '.join([*wrong, *(['raw'] if files else [])])}"
    return None


def _shown(error: Exception, root: Path) -> str:
    """An error without the way to the project, so that a report is the same wherever the project lies."""
    return str(error).replace(f"{root}/", "")
