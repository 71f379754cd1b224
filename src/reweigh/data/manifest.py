"""Fetching what the manifest lists, and telling what is where.

`ensure` puts a data set into `data/raw` from the first source that has it whole: it is there already, it is embedded in
the project, it lies in a mirror (`REWEIGH_MIRROR`, a directory or the beginning of a URL), it can be downloaded from
its official place. Whatever the source, bytes are checked; a good file is never overwritten and a bad one never kept.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.data import transfer
from reweigh.data.catalogue import PATH, Dataset, Edition, Manifest, Source, content_digest
from reweigh.data.transfer import Expected, Found
from reweigh.digest import digest
from reweigh.errors import DataError

log = logging.getLogger(__name__)

__all__ = ["PATH", "Manifest", "content_digest", "ensure", "status"]

SOURCES = ("embedded", "mirror", "official")
PLACES = ("raw", *SOURCES, "by hand")  # nearest first
RECEIPT = "SOURCE.json"
PARTIAL = ".part-"


def ensure(
    dataset: str, root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> dict[str, Any]:
    """Put a data set into `root/dataset`, checked; return its receipt, which also lies there as `SOURCE.json`.

    The receipt: `{dataset, edition, files: [{name, bytes, sha256, source, url}], fetched}`; `source` is "embedded",
    "mirror", "official" or "present" (it lay there already), `url` is where anyone can get the same content, or `None`.
    `mirror` is a directory or URL prefix; `None` means the environment's REWEIGH_MIRROR, "" none at all.
    Data sets that this one needs are put beside it. Raises DataError if a file that is there is not what it should be,
    or if no source has the data set.
    """
    catalogue = Manifest.load(manifest)
    for needed in catalogue[dataset].needs:
        ensure(needed, root, mirror, manifest)
    job = _Fetch(catalogue[dataset], Path(root) / dataset, catalogue.directory / "embedded", _mirror(mirror))
    try:
        if edition := job.complete_edition():
            return job.receipt(edition)
        with _alone(job.home):
            return job.receipt(job.complete_edition() or job.fetch())
    except OSError as error:
        raise DataError(f"data set {dataset}: {error}; make room or give write permission, then fetch again") from None


def status(
    root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> list[dict[str, Any]]:
    """One row a data set: `{dataset, title, edition, where, bytes, missing, note, how}`; opens nothing, asks nobody.

    `where` is "raw" (fetched), "embedded", "mirror", "official" (a download) or "by hand" (nobody may pass it on, or it
    was never published), of the data sets that it needs too, whichever is farthest; `missing` lists the files that are
    not in raw; `how` says what to do to have all of it.
    """
    catalogue, place = Manifest.load(manifest), _mirror(mirror)
    jobs = {
        name: _Fetch(entry, Path(root) / name, catalogue.directory / "embedded", place)
        for name, entry in catalogue.datasets.items()
    }
    return [job.row([jobs[name].where()[0] for name in job.entry.needs]) for job in jobs.values()]


@dataclass(frozen=True)
class _Offer:
    """One place that may have a file: a local path or a URL, and what should be found there."""

    kind: str
    location: Path | str
    packed: Source

    def there(self) -> bool:
        return isinstance(self.location, str) or self.location.is_file()


@dataclass
class _Fetch:
    """Getting one data set: where from, where to, and what went wrong on the way."""

    entry: Dataset
    home: Path
    embedded: Path
    mirror: Path | str | None
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)

    def complete_edition(self) -> Edition | None:
        """The first edition whose files are all there. Raises DataError if one of them is not what it should be."""
        return next((edition for edition in self.entry.editions if edition.files and self._all_right(edition)), None)

    def _all_right(self, edition: Edition) -> bool:
        present = [file for file in edition.files if (self.home / file.name).is_file()]
        for file in present:
            path, expected = self.home / file.name, self._expected(file)
            self.found[file.name] = transfer.measure(path, expected)
            if wrong := transfer.fault(self.found[file.name], expected):
                raise DataError(f"{path}: {wrong}; delete it, then run: reweigh fetch {self.entry.name}")
        return len(present) == len(edition.files)

    def _expected(self, file: Source) -> Expected:
        """What a file must be; where nobody published a digest, what it was when it was fetched."""
        if file.sha256 or file.md5:
            return file.expected
        before = {known["name"]: known["sha256"] for known in _read_receipt(self.home / RECEIPT).get("files", [])}
        return Expected(file.bytes, before.get(file.name))

    def fetch(self) -> Edition:
        """Get the first edition that the nearest sources have whole. Raises DataError, in one line, if none has."""
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                if edition.files and self._fetch_edition(edition, SOURCES[:nearest]):
                    return edition
        raise DataError(self._nowhere())

    def _fetch_edition(self, edition: Edition, kinds: tuple[str, ...]) -> bool:
        """Get what an edition lacks, if sources of these kinds may have every file of it; whether it is whole now."""
        missing = self._missing(edition)
        offers = [self._offers(edition, file, kinds) for file in missing]
        if not (all(offers) and all(map(self._take_first, missing, offers))):
            return False
        for path in (*self.home.glob(f"{PARTIAL}*"), *self.home.glob(".*.tmp")):
            path.unlink()
        return True

    def _missing(self, edition: Edition) -> list[Source]:
        return [file for file in edition.files if not (self.home / file.name).is_file()]

    def _offers(self, edition: Edition, file: Source, kinds: tuple[str, ...]) -> list[_Offer]:
        """Where a file may be had, itself or in its archive, nearest first, without local places that do not exist."""
        sources = (file, edition.archives[file.archive]) if file.archive else (file,)
        places = [
            _Offer(kind, location, packed)
            for kind in kinds
            for packed in sources
            for location in self._places(packed, kind)
        ]
        return [offer for offer in places if offer.there()]

    def _places(self, packed: Source, kind: str) -> list[Path | str]:
        """The paths or URLs at which one kind of source keeps a file or an archive."""
        if kind == "embedded" and packed.embedded:
            return [self.embedded / packed.embedded]
        if kind == "mirror" and packed.mirror and self.mirror:
            return [self.mirror / packed.mirror if isinstance(self.mirror, Path) else self.mirror + packed.mirror]
        return list(packed.urls) if kind == "official" else []

    def _take_first(self, file: Source, offers: list[_Offer]) -> bool:
        """Take a file from the first place that really has it; one that fails is warned about and not asked again."""
        for offer in offers:
            if (key := (file.name, str(offer.location))) in self.failures:
                continue
            try:
                self._take(file, offer)
            except DataError as error:
                self.failures[key] = str(error)
                log.warning("%s; trying the next source", error)
                continue
            if not (file.sha256 or file.md5):
                log.warning("%s: nobody published its digest, so nothing but its arrival was checked", file.name)
            self.taken[file.name] = (offer.kind, str(offer.location) if offer.kind == "official" else None)
            return True
        return False

    def _take(self, file: Source, offer: _Offer) -> None:
        """Get one file from one place into its own. Raises DataError if the place fails or holds something else."""
        in_archive = offer.packed is not file
        local = offer.location if isinstance(offer.location, Path) else self._downloaded(offer)
        try:
            if in_archive:
                member = file.member or file.name
                self._check_archive(local, offer.packed)
                with transfer.opened_member(local, member) as stream:
                    found = transfer.write(stream, self.home / file.name, file.expected, f"{offer.location}:{member}")
            else:
                found = transfer.place(local, self.home / file.name, file.expected)
            self.found[file.name] = found
        except DataError:
            if isinstance(offer.location, str):
                local.unlink(missing_ok=True)
            raise

    def _check_archive(self, path: Path, archive: Source) -> None:
        """Raise DataError if an archive is not what it should be; each is read through once."""
        if str(path) not in self.found:
            found = transfer.measure(path, archive.expected)
            if wrong := transfer.fault(found, archive.expected):
                raise DataError(f"{path}: {wrong}")
            self.found[str(path)] = found

    def _downloaded(self, offer: _Offer) -> Path:
        """The packed file behind a URL, downloaded beside its goal under a name that belongs to this URL."""
        name = str(offer.location).partition("?")[0].rsplit("/", 1)[-1]
        partial = self.home / f"{PARTIAL}{digest(offer.location)[:8]}-{name}"
        expected = offer.packed.expected
        if transfer.packing(name, offer.packed.name):
            expected = (offer.packed.download if offer.kind == "official" else None) or Expected()
        return transfer.download(str(offer.location), partial, expected)

    def receipt(self, edition: Edition) -> dict[str, Any]:
        """The receipt of an edition that is there whole; written again only if it says something new."""
        path = self.home / RECEIPT
        before = _read_receipt(path)
        known = {(file["name"], file["sha256"]): file for file in before.get("files", [])}
        files = []
        for file in edition.files:
            found = self.found[file.name]
            old = known.get((file.name, found.sha256), {})
            source, url = self.taken.get(file.name, (old.get("source", "present"), old.get("url")))
            files.append(
                {
                    "name": file.name,
                    "bytes": found.bytes,
                    "sha256": found.sha256,
                    "source": source,
                    "url": url or _public_url(edition, file),
                }
            )
        body = {"dataset": self.entry.name, "edition": edition.name, "files": files}
        if body == {key: before.get(key) for key in body}:
            return before
        body["fetched"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        canonical_json.write(path, json.dumps(body, indent=1) + "\n")
        return body

    def where(self) -> tuple[str, Edition | None]:
        """The nearest place that has a whole edition, by what exists, without checking it; a URL mirror is believed."""
        for edition in self.entry.editions:
            if edition.files and all((self.home / file.name).is_file() for file in edition.files):
                return "raw", edition
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                if edition.files and all(self._offers(edition, file, SOURCES[:nearest]) for file in edition.files):
                    return SOURCES[nearest - 1], edition
        return "by hand", next(iter(self.entry.editions), None)

    def row(self, needed: Sequence[str] = ()) -> dict[str, Any]:
        """This data set's row of `status`; `needed` are the places of the data sets that it needs."""
        own, edition = self.where()
        where = max((own, *needed), key=PLACES.index)
        sizes = [file.bytes for file in edition.files] if edition else [None]
        fetch = f"reweigh fetch {self.entry.name}" if where in SOURCES else ""
        return {
            "dataset": self.entry.name,
            "title": self.entry.title,
            "edition": edition.name if edition else None,
            "where": where,
            "bytes": None if None in sizes else sum(sizes),
            "missing": [file.name for file in self._missing(edition)] if edition else [],
            "note": edition.note if edition else "",
            "how": "; ".join(filter(None, (fetch, self.entry.how))),
        }

    def _nowhere(self) -> str:
        """Why no source had the data set, and what to do about it, in one line."""
        reasons = "; ".join(dict.fromkeys(self.failures.values()))
        wholes = [
            [source.mirror for source in (edition.archives.values() or edition.files)]
            for edition in self.entry.editions
        ]
        in_mirror = [" and ".join(map(str, whole)) for whole in wholes if whole and None not in whole]
        advice = [self.entry.how] if self.entry.how else []
        if isinstance(self.mirror, Path) and not self.mirror.is_dir():
            advice.append(f"correct REWEIGH_MIRROR: {self.mirror} is no directory")
        if in_mirror:
            advice.append(f"set REWEIGH_MIRROR to a directory or URL that has {', or '.join(in_mirror)}")
        if any(file.urls for edition in self.entry.editions for file in (*edition.files, *edition.archives.values())):
            advice.append(f"with a network connection run: reweigh fetch {self.entry.name}")
        return (
            f"data set {self.entry.name} is not to be had{f' ({reasons})' if reasons else ''}: {'; or '.join(advice)}"
        )


def _mirror(mirror: str | None) -> Path | str | None:
    """The mirror as a path, or as a URL prefix that ends in a slash; `None` if there is none."""
    mirror = os.environ.get("REWEIGH_MIRROR", "") if mirror is None else str(mirror)
    if mirror.startswith(("http://", "https://")):
        return mirror.rstrip("/") + "/"
    return Path(mirror.removeprefix("file://")) if mirror else None


def _public_url(edition: Edition, file: Source) -> str | None:
    """Where anyone can get a file: its own first URL, or its archive's."""
    urls = file.urls or (edition.archives[file.archive].urls if file.archive else ())
    return urls[0] if urls else None


def _read_receipt(path: Path) -> dict[str, Any]:
    """The receipt at `path`, empty if there is none that can be read."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no other process fetches into `home`; the lock goes when its process does."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
