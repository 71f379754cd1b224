"""Where the data come from: embedded data, raw files and their source files, and splits drawn again from them.

Only the manifest says what the bytes of a data set must be. Records, the source file beside the raw files
(`SOURCE.json`) and the packed files in data/embedded are each compared with it, and a split with what the raw files
give today. If the files and the records agree and only the manifest differs, then the manifest was changed.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.data import load, local_cards, manifest, transfer
from reweigh.data.arrays import RawData, Split
from reweigh.data.catalogue import Dataset, Edition, Manifest, Source
from reweigh.data.obtain import recipe, recipe_digest
from reweigh.data.split import draw
from reweigh.data.transfer import Expected
from reweigh.digest import canonical, file_digest
from reweigh.errors import DataError, ReweighError
from reweigh.os_errors import hides, unseen
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.looking import looked, seen
from reweigh.provenance.audit.side_by_side import Check
from reweigh.terminal import printable

Records = dict[str, dict[str, Any]]
Verdict = tuple[str, str]  # state, detail
Splits = list[tuple[tuple[str, str, str], dict[str, Any]]]  # path, digest, digest of the recipe; a record of the split
MANIFEST = "data/manifest.yaml"
SECONDS_A_SPLIT = 0.03  # to draw one again


def check_sources(records: Records, root: Path, from_raw: bool = True) -> Iterator[Link]:
    """Links `embedded`, `raw` (a raw file that records name, or a source file) and `split`; see `source_checks`."""
    for check in source_checks(records, root, from_raw):
        yield from check.links()


def source_checks(records: Records, root: Path, from_raw: bool = True) -> list[Check]:
    """Checks of embedded data, of raw files (already done), and of the splits of each data set.

    Puts raw files that need no download into data/raw, as training would. A record that contradicts the manifest about
    its raw files has a `raw` link of its own, under the name of the record's file.
    """
    catalogue = Manifest.load(root / MANIFEST)
    packed = (
        [Check(partial(seen, "embedded", _embedded, records, catalogue, root), 1.0)] if from_raw and records else []
    )
    links, unsound = _raw(records, catalogue, root)
    return [*packed, Check(lambda: links), *_split_checks(records, root, unsound, from_raw)]


def _raw(records: Records, catalogue: Manifest, root: Path) -> tuple[list[Link], dict[bytes, str]]:
    """The links of raw files, which are put in place, and what is wrong with some, by their keys (see `_key`)."""
    datasets = sorted({file["dataset"] for body in records.values() for file in body["raw"]} & {*catalogue.datasets})
    links = []
    before = {
        name: looked(_source_file, catalogue, name, root) for name in datasets
    }  # putting files in place writes it anew
    unavailable = {name: _put_in_place(name, root) for name in datasets}
    for name in datasets:
        verdict = before[name] or looked(_source_file, catalogue, name, root) or ("unverifiable", unavailable[name])
        links.append(Link("raw", f"{name}/{manifest.SOURCE_FILE}", *verdict))
    links += _statements(records, catalogue, root)
    raw = list(_raw_files(records, catalogue, root, unavailable))
    links += (link for link, _ in raw)
    unsound = {key: f"{link.name} is {link.state}: {link.detail}" for link, key in raw if link.state != "intact"}
    return links, unsound


def _put_in_place(dataset: str, root: Path) -> str:
    """Put a data set into data/raw if that needs no download; why it is unavailable, or empty if it is in place."""
    data = root / "data"
    try:
        rows = manifest.status(data / "raw", manifest=data / "manifest.yaml")
        where = next((row["where"] for row in rows if row["dataset"] == dataset), "by hand")
        if where in ("embedded", "mirror"):
            manifest.ensure(dataset, data / "raw", manifest=data / "manifest.yaml")
        elif where != "raw":
            return f"the raw files are not in data/raw; get them with: reweigh fetch {dataset}"
    except (ReweighError, OSError) as error:
        return str(unseen(error)) if isinstance(error, OSError) and hides(error) else str(error)
    return ""


# --- raw files -------------------------------------------------------------------------------------------------------


def _embedded(records: Records, catalogue: Manifest, root: Path) -> Iterator[Link]:
    """Every packed file of data/embedded, unpacked and compared with the manifest."""
    recorded = {(file["dataset"], file["name"], file["sha256"]) for body in records.values() for file in body["raw"]}
    files = [
        (f"data/embedded/{file.embedded}", file, dataset.name)
        for dataset in catalogue.datasets.values()
        for edition in dataset.editions
        for file in edition.files
        if file.embedded
    ]
    absent = ("missing", "the manifest names it, but it does not exist")
    if not (root / "data/embedded").is_dir():  # as in an unpacked crate
        absent = ("unverifiable", "data/embedded is not part of this copy; the project's repository has it")
    with tempfile.TemporaryDirectory(prefix="reweigh-audit-") as folder:
        for path, file, dataset in files:
            if not (root / path).is_file():
                yield Link("embedded", path, *absent)
                continue
            try:
                transfer.place(root / path, Path(folder, Path(file.name).name), file.expected)
                yield Link("embedded", path, "intact")
            except Exception as error:  # a damaged archive can raise anything
                if isinstance(error, OSError) and hides(error):  # it, or where it was to be unpacked
                    yield Link("embedded", path, "unverifiable", _relative(unseen(error), root))
                    continue
                if (dataset, file.name, _packed_sha256(root, file)) in recorded:
                    path = f"{MANIFEST} ({dataset}/{file.name})"
                yield Link("embedded", path, "broken", _relative(error, root))


def _packed_sha256(root: Path, file: Source) -> str:
    """The digest of the content of an embedded file; empty if there is none that can be unpacked."""
    if not file.embedded:
        return ""
    try:
        with tempfile.TemporaryDirectory(prefix="reweigh-audit-") as folder:
            return transfer.place(root / "data/embedded" / file.embedded, Path(folder, "content"), Expected()).sha256
    except Exception:  # a damaged archive can raise anything
        return ""


def _source_file(catalogue: Manifest, dataset: str, root: Path) -> Verdict | None:
    """Whether SOURCE.json agrees with the manifest about the raw files beside it; None if there are no raw files."""
    folder = root / "data/raw" / dataset
    editions = {edition.name: edition for edition in catalogue[dataset].editions}
    if any((folder / file.name).is_file() for edition in editions.values() for file in edition.files):
        return _source_verdict(folder, dataset, editions)
    return None


def _source_verdict(folder: Path, dataset: str, editions: dict[str, Edition]) -> Verdict:
    path = folder / manifest.SOURCE_FILE
    if not path.is_file():
        return "missing", "it does not exist, though raw files do"
    try:
        body = canonical_json.parse(path.read_bytes())
        edition = editions.get(body["edition"])
        if body["dataset"] != dataset or edition is None:
            return "broken", f"it is about {body['dataset']}, edition {body['edition']}"
        entries = {file.name: file for file in edition.files}
        if sorted(file["name"] for file in body["files"]) != sorted(entries):
            return "broken", f"it does not name the files of edition {edition.name}"
        for file in body["files"]:
            entry = entries[file["name"]]
            if (entry.sha256 or file["sha256"], entry.bytes or file["bytes"]) != (file["sha256"], file["bytes"]):
                return "broken", f"it says {file['name']} has sha256 {str(file['sha256'])[:12]}, the manifest does not"
            if file["source"] not in ("present", *manifest.SOURCES):
                return "broken", f"it says that {file['name']} is from {file['source']!r}"
            if file["url"] is not None and file["url"] not in _urls(edition, entry):
                return "stale", f"the manifest does not have the address {file['url']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        if hides(error):
            raise
        return "broken", f"it does not have the form of a source file ({error!r})"
    return "intact", ""


def _raw_files(
    records: Records, catalogue: Manifest, root: Path, unavailable: dict[str, str]
) -> Iterator[tuple[Link, bytes]]:
    """A link for each different raw file that records name, and the key of that file (see `_key`)."""
    named = {_key(file): (file, body["spec"]["data"]) for body in records.values() for file in body["raw"]}
    for key, (file, data) in sorted(named.items(), key=lambda item: item[0]):
        if local_cards.is_local(file["dataset"]):
            state, detail = looked(_own_file, file, data, root)
        else:
            state, detail = looked(_raw_file, file, catalogue, root, unavailable.get(file["dataset"], ""))
        name = f"{file['dataset']}/{file['name']}"
        if state == "broken" and MANIFEST in detail:
            name = f"{MANIFEST} ({name})"
        yield Link("raw", name, state, detail), key


def _key(file: dict[str, Any]) -> bytes:
    return canonical([file[part] for part in ("dataset", "edition", "name", "sha256")])


def _own_file(file: dict[str, Any], data: dict[str, Any], root: Path) -> Verdict:
    """A file of a user's own, which lies where its card says; no manifest knows it, and nobody else has it."""
    try:
        card = local_cards.of(data["options"], root / "data")
    except DataError as error:
        return "unverifiable", _relative(error, root)
    if card["sha256"] != file["sha256"]:
        return "broken", f"it has sha256 {card['sha256'][:12]}, records say {str(file['sha256'])[:12]}"
    stated, place = local_cards.digested_file(card, root / "data"), local_cards.place_of(card, root / "data")
    if stated.is_file():
        try:
            local_cards.checked_file(card, root / "data")
        except DataError as error:
            return "broken", _relative(error, root)
    if not stated.is_file() or not place.exists():
        what, missing = ("the images that it lists are", place) if stated.is_file() else ("it is", stated)
        return "unverifiable", (
            f"{what} not at {_relative(printable(missing), root)}, where {local_cards.card_path(card['name'])} says, "
            "so its splits cannot be drawn again; records, figures and code are checked all the same"
        )
    return "intact", ""


def _raw_file(file: dict[str, Any], catalogue: Manifest, root: Path, unavailable: str) -> Verdict:
    if file["dataset"] not in catalogue.datasets:
        return "broken", f"the manifest has no data set {file['dataset']}"
    editions = {edition.name: edition for edition in catalogue[file["dataset"]].editions}
    entries = editions[file["edition"]].files if file["edition"] in editions else ()
    entry = next((entry for entry in entries if entry.name == file["name"]), None)
    stated = str(file["sha256"])[:12]
    if entry is None:
        return "broken", f"the manifest has no such file in edition {file['edition']}"
    path = root / "data/raw" / file["dataset"] / file["name"]
    manifest_changed = f"and the file agrees with the records: {MANIFEST} has changed; restore it from git"
    if entry.sha256 and entry.sha256 != file["sha256"]:
        actual = file_digest(path) if path.is_file() else _packed_sha256(root, entry)
        difference = f"records say sha256 {stated}, the manifest {entry.sha256[:12]}"
        return "broken", f"{difference}, {manifest_changed}" if actual == file["sha256"] else difference
    if not path.is_file():
        return "unverifiable", unavailable or f"it is not in data/raw; get it with: reweigh fetch {file['dataset']}"
    if (actual := file_digest(path)) != file["sha256"]:
        return "broken", f"it has sha256 {actual[:12]}, records say {stated}"
    if (size := path.stat().st_size) != (entry.bytes or size):
        return "broken", f"it has {size} bytes, the manifest says {entry.bytes}, {manifest_changed}"
    return "intact", ""


# --- what each record states about them ------------------------------------------------------------------------------


def _statements(records: Records, catalogue: Manifest, root: Path) -> Iterator[Link]:
    """A link for each record that contradicts the manifest about its raw files; their sha256 is checked elsewhere."""
    verdicts: dict[bytes, Verdict | None] = {}
    for run, body in records.items():
        dataset = body["spec"]["data"]["dataset"]
        key = canonical([dataset, body["raw"]])
        if key not in verdicts:
            verdicts[key] = _statement(dataset, body["raw"], catalogue, root)
        if verdict := verdicts[key]:
            yield Link("raw", f"results/{run}.json", *verdict)


def _statement(dataset: str, raw: list[dict[str, Any]], catalogue: Manifest, root: Path) -> Verdict | None:
    """What is wrong with `raw` of one record: it must name all files of one edition, and the source of each."""
    if dataset not in catalogue.datasets:
        return None  # each of its files is reported by itself
    needed = (dataset, *catalogue[dataset].needs)
    if sorted({file["dataset"] for file in raw}) != sorted(needed):
        return "broken", f"raw names files of other data sets than {', '.join(needed)}"
    for name in needed:
        if verdict := _of_dataset(catalogue[name], [file for file in raw if file["dataset"] == name], root):
            return verdict
    return None


def _of_dataset(entry: Dataset, files: list[dict[str, Any]], root: Path) -> Verdict | None:
    editions = {edition.name: edition for edition in entry.editions}
    named = sorted({file["edition"] for file in files})
    if len(named) != 1 or named[0] not in editions:
        return "broken", f"raw says that {entry.name} is of edition {' and '.join(named)!r}"
    edition = editions[named[0]]
    expected = {file.name: file for file in edition.files}
    if sorted(file["name"] for file in files) != sorted(expected):
        return "broken", f"raw does not name the files of {entry.name}, edition {edition.name}"
    for file in files:
        source, what = expected[file["name"]], f"of {entry.name}/{file['name']}"
        path = root / "data/raw" / entry.name / source.name
        size = path.stat().st_size if path.is_file() else source.bytes  # `_raw_file` compares it with the manifest's
        if file["bytes"] not in (source.bytes or file["bytes"], size):
            return "broken", f"raw.bytes {what} is {file['bytes']}, the manifest says {source.bytes}"
        if file["source"] not in ("present", *_places(edition, source)):
            return "stale", f"raw.source {what} is {file['source']!r}, which the manifest does not offer"
        urls = _urls(edition, source)
        if file["url"] not in (urls or (None,)):
            return "stale", f"raw.url {what} is {file['url']!r}, which the manifest does not have"
    return None


def _urls(edition: Edition, file: Source) -> tuple[str, ...]:
    return (*file.urls, *(edition.archives[file.archive].urls if file.archive else ()))


def _places(edition: Edition, file: Source) -> list[str]:
    """Which of `manifest.SOURCES` the manifest offers for a file, or for the archive that it is in."""
    sources = (file, edition.archives[file.archive]) if file.archive else (file,)
    offers = {"embedded": "embedded", "mirror": "mirror", "official": "urls"}
    return [place for place, key in offers.items() if any(getattr(source, key) for source in sources)]


# --- splits ----------------------------------------------------------------------------------------------------------


def _split_checks(records: Records, root: Path, unsound: dict[bytes, str], from_raw: bool) -> list[Check]:
    """A check of all splits of each data set: raw data are large, so only one data set at a time is kept.

    The methods of a setting share a split, which is drawn again only once.
    """
    by_split: dict[tuple[str, str, str], dict[str, Any]] = {}
    for body in records.values():
        split = body["split"]
        by_split.setdefault((split["path"], split["digest"], split["recipe_digest"]), body)
    by_data: dict[bytes, Splits] = {}
    for item in sorted(by_split.items(), key=lambda item: (canonical(_raw_data(item[1])), item[0])):
        by_data.setdefault(canonical(_raw_data(item[1])), []).append(item)
    return [
        Check(partial(_splits, of, root, unsound, from_raw), len(of) * SECONDS_A_SPLIT if from_raw else 0.0)
        for of in by_data.values()
    ]


def _splits(splits: Splits, root: Path, unsound: dict[bytes, str], from_raw: bool) -> Iterator[Link]:
    """One link for each split of one data set."""
    raw: RawData | None = None
    for (path, stated, _), body in splits:
        if altered := looked(_altered, root / path, body):
            yield Link("split", path, *altered)
            continue
        unsound_file = next((unsound[key] for file in body["raw"] if (key := _key(file)) in unsound), "")
        if unsound_file or not from_raw:
            yield Link("split", path, "unverifiable", unsound_file or "not drawn again in this audit")
            continue
        try:
            if raw is None:
                raw = load.read(**_raw_data(body), root=root / "data/raw")
            drawn = draw(raw, body["spec"]["data"]["split"], body["spec"]["seed"]).digest()
        except (ReweighError, OSError) as error:
            yield Link("split", path, "unverifiable", str(error))
            continue
        except Exception as error:  # a forged spec or raw file can raise anything; the audit must go on
            yield Link("split", path, "broken", f"it cannot be drawn again: {error!r}")
            continue
        yield Link("split", path, *_compared(drawn, stated, body, root))


def _raw_data(body: dict[str, Any]) -> dict[str, Any]:
    """The raw data that a run's split is drawn from: data set and options of its reader."""
    return {key: body["spec"]["data"][key] for key in ("dataset", "options")}


def _compared(drawn: str, stated: str, body: dict[str, Any], root: Path) -> Verdict:
    """A split that comes out differently is stale if its recipe or code has changed, else broken."""
    if drawn == stated:
        return "intact", ""
    same_recipe = recipe_digest(body["spec"], root / "data") == body["split"]["recipe_digest"]
    return "broken" if same_recipe else "stale", f"drawn again it has digest {drawn[:12]}, records say {stated[:12]}"


def _altered(path: Path, body: dict[str, Any]) -> Verdict | None:
    """What is wrong with the two files of a split, if they exist; without them the split can be drawn again."""
    report, stated = path.with_suffix(".json"), body["split"]["digest"]
    if path.is_file() != report.is_file():
        absent, present = (path, report) if report.is_file() else (report, path)
        return "missing", f"{absent.name} does not exist, but {present.name} does"
    if not path.is_file():
        return None
    try:
        split = Split.from_bytes(path.read_bytes())
    except Exception as error:  # a damaged archive can raise anything
        if hides(error):
            raise
        return "broken", "it cannot be read"
    if (actual := split.digest()) != stated:
        return "broken", f"it has digest {actual[:12]}, records say {stated[:12]}"
    try:
        reported = canonical_json.parse(report.read_bytes())
        expected = {
            "digest": stated,
            "recipe": recipe(body["spec"]),
            "sizes": split.sizes(),
            "group_sizes": split.group_sizes(),
            "class_names": list(split.class_names),
            "group_names": list(split.group_names),
        }
        different = [name for name, value in expected.items() if reported[name] != value]
        if [_key(file) for file in reported["raw"]] != [_key(file) for file in body["raw"]]:
            different.append("raw")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if hides(error):
            raise
        return "broken", f"{report.name} does not have the form of a split's report ({error!r})"
    if different:
        return "broken", f"{report.name} contradicts the records: {', '.join(different)}"
    return None


def _relative(error: object, root: Path) -> str:
    """An error's text with paths below the project, so that a report is the same wherever the project lies."""
    return str(error).replace(f"{root}/", "")
