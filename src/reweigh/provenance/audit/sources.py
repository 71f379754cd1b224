"""The far end of the chain, as an audit checks it: what is embedded, raw files, their receipts, splits drawn again.

Only the manifest says what the bytes of a data set must be. Records, the receipt beside the raw files (`SOURCE.json`)
and the packed files in data/embedded are each held against it, and a split against what the raw files give today. Where
the files and the records agree and the manifest alone does not, it is the manifest that was changed.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.data import load, manifest, transfer
from reweigh.data.arrays import RawData, Split
from reweigh.data.catalogue import Dataset, Edition, Manifest, Source
from reweigh.data.obtain import recipe, recipe_digest
from reweigh.data.split import draw
from reweigh.data.transfer import Expected
from reweigh.digest import canonical, file_digest
from reweigh.errors import ReweighError
from reweigh.provenance.audit.links import Link, watched

Records = dict[str, dict[str, Any]]
Verdict = tuple[str, str]  # state, detail
MANIFEST = "data/manifest.yaml"


def check_sources(records: Records, root: Path, redraw: bool = True) -> Iterator[Link]:
    """Links `embedded`, `raw` (a file that records name, or a receipt) and `split` (its files, and what raw gives).

    Puts raw files that need no download into data/raw, as training would. A record whose account of its raw files is
    not the manifest's has a `raw` link of its own, under the name of its file.
    """
    catalogue = Manifest.load(root / MANIFEST)
    datasets = sorted({file["dataset"] for body in records.values() for file in body["raw"]} & {*catalogue.datasets})
    if redraw and records:
        yield from _embedded(records, catalogue, root)
    before = {name: _receipt(catalogue, name, root) for name in datasets}  # what is put in place writes it anew
    at_hand = {name: _at_hand(name, root) for name in datasets}
    for name in datasets:
        said = before[name] or _receipt(catalogue, name, root) or ("unverifiable", at_hand[name])
        yield Link("raw", f"{name}/{manifest.SOURCE_FILE}", *said)
    yield from _accounts(records, catalogue, root)
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


def _embedded(records: Records, catalogue: Manifest, root: Path) -> Iterator[Link]:
    """Every packed file of data/embedded, unpacked, against the manifest."""
    recorded = {(file["dataset"], file["name"], file["sha256"]) for body in records.values() for file in body["raw"]}
    files = [
        (f"data/embedded/{file.embedded}", file, dataset.name)
        for dataset in catalogue.datasets.values()
        for edition in dataset.editions
        for file in edition.files
        if file.embedded
    ]
    absent = ("missing", "the manifest names it, and it is not there")
    if not (root / "data/embedded").is_dir():  # as in an unpacked crate
        absent = ("unverifiable", "not packed; data/embedded is not here, the project's repository has it")
    with tempfile.TemporaryDirectory(prefix="reweigh-audit-") as folder:
        for path, file, dataset in watched(files, "embedded data"):
            if not (root / path).is_file():
                yield Link("embedded", path, *absent)
                continue
            try:
                transfer.place(root / path, Path(folder, Path(file.name).name), file.expected)
                yield Link("embedded", path, "intact")
            except Exception as error:  # a damaged archive raises whatever its damage leads to
                if (dataset, file.name, _packed_sha256(root, file)) in recorded:
                    path = f"{MANIFEST} ({dataset}/{file.name})"
                yield Link("embedded", path, "broken", _shown(error, root))


def _packed_sha256(root: Path, file: Source) -> str:
    """The digest of what an embedded file holds; empty if there is none that can be unpacked."""
    if not file.embedded:
        return ""
    with tempfile.TemporaryDirectory(prefix="reweigh-audit-") as folder:
        try:
            return transfer.place(root / "data/embedded" / file.embedded, Path(folder, "content"), Expected()).sha256
        except Exception:  # as above
            return ""


def _receipt(catalogue: Manifest, dataset: str, root: Path) -> Verdict | None:
    """Whether what SOURCE.json says of the raw files beside it holds; None if there are none."""
    home = root / "data/raw" / dataset
    editions = {edition.name: edition for edition in catalogue[dataset].editions}
    if any((home / file.name).is_file() for edition in editions.values() for file in edition.files):
        return _said(home, dataset, editions)
    return None


def _said(home: Path, dataset: str, editions: dict[str, Edition]) -> Verdict:
    path = home / manifest.SOURCE_FILE
    if not path.is_file():
        return "missing", "it is not there, though raw files are"
    try:
        body = canonical_json.parse(path.read_bytes())
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
            if file["source"] not in ("present", *manifest.SOURCES):
                return "broken", f"it says that {file['name']} is from {file['source']!r}"
            if file["url"] is not None and file["url"] not in _urls(edition, known):
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
        state, detail = _raw_file(file, catalogue, root, at_hand.get(file["dataset"], ""))
        name = f"{file['dataset']}/{file['name']}"
        if state == "broken" and MANIFEST in detail:
            name = f"{MANIFEST} ({name})"
        yield Link("raw", name, state, detail), key


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
    path = root / "data/raw" / file["dataset"] / file["name"]
    changed = f"and the file agrees with the records: {MANIFEST} has changed; restore it from git"
    if promised.sha256 and promised.sha256 != file["sha256"]:
        found = file_digest(path) if path.is_file() else _packed_sha256(root, promised)
        said = f"records say sha256 {stated}, the manifest {promised.sha256[:12]}"
        return "broken", f"{said}, {changed}" if found == file["sha256"] else said
    if not path.is_file():
        return "unverifiable", why_not or f"it is not there; get it with: reweigh fetch {file['dataset']}"
    if (found := file_digest(path)) != file["sha256"]:
        return "broken", f"it has sha256 {found[:12]}, records say {stated}"
    if (size := path.stat().st_size) != (promised.bytes or size):
        return "broken", f"it has {size} bytes, the manifest says {promised.bytes}, {changed}"
    return "intact", ""


# --- what each record says of them -----------------------------------------------------------------------------------


def _accounts(records: Records, catalogue: Manifest, root: Path) -> Iterator[Link]:
    """A link for each record that says of its raw files, their sha256 apart, what the manifest does not."""
    known: dict[bytes, Verdict | None] = {}
    for run, body in records.items():
        dataset = body["spec"]["data"]["dataset"]
        key = canonical([dataset, body["raw"]])
        if key not in known:
            known[key] = _account(dataset, body["raw"], catalogue, root)
        if found := known[key]:
            yield Link("raw", f"results/{run}.json", *found)


def _account(dataset: str, raw: list[dict[str, Any]], catalogue: Manifest, root: Path) -> Verdict | None:
    """What is wrong with the account of one record: it must name all files of an edition, and how each was had."""
    if dataset not in catalogue.datasets:
        return None  # each file of it is at fault
    needed = (dataset, *catalogue[dataset].needs)
    if sorted({file["dataset"] for file in raw}) != sorted(needed):
        return "broken", f"raw names files of other data sets than {', '.join(needed)}"
    for name in needed:
        if found := _of_dataset(catalogue[name], [file for file in raw if file["dataset"] == name], root):
            return found
    return None


def _of_dataset(entry: Dataset, files: list[dict[str, Any]], root: Path) -> Verdict | None:
    editions = {edition.name: edition for edition in entry.editions}
    named = sorted({file["edition"] for file in files})
    if len(named) != 1 or named[0] not in editions:
        return "broken", f"raw says that {entry.name} is of edition {' and '.join(named)!r}"
    edition = editions[named[0]]
    promised = {file.name: file for file in edition.files}
    if sorted(file["name"] for file in files) != sorted(promised):
        return "broken", f"raw does not name the files of {entry.name}, edition {edition.name}"
    for file in files:
        known, what = promised[file["name"]], f"of {entry.name}/{file['name']}"
        path = root / "data/raw" / entry.name / known.name
        size = path.stat().st_size if path.is_file() else known.bytes
        if file["bytes"] not in (known.bytes or file["bytes"], size):  # where the file denies the manifest, see above
            return "broken", f"raw.bytes {what} is {file['bytes']}, the manifest says {known.bytes}"
        if file["source"] not in ("present", *_places(edition, known)):
            return "stale", f"raw.source {what} is {file['source']!r}, which the manifest does not offer"
        urls = _urls(edition, known)
        if file["url"] not in (urls or (None,)):
            return "stale", f"raw.url {what} is {file['url']!r}, which the manifest does not know"
    return None


def _urls(edition: Edition, file: Source) -> tuple[str, ...]:
    return (*file.urls, *(edition.archives[file.archive].urls if file.archive else ()))


def _places(edition: Edition, file: Source) -> list[str]:
    """Which of `manifest.SOURCES` the manifest offers for a file, itself or in its archive."""
    sources = (file, edition.archives[file.archive]) if file.archive else (file,)
    offers = {"embedded": "embedded", "mirror": "mirror", "official": "urls"}
    return [place for place, key in offers.items() if any(getattr(one, key) for one in sources)]


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
        except Exception as error:  # of a spec or raw files as nobody foresaw them: no end of the audit
            yield Link("split", path, "broken", f"it cannot be drawn again: {error!r}")
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
        said = canonical_json.parse(report.read_bytes())
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
