"""Fetch the raw files that the manifest lists, and list what is where.

`ensure` puts a data set into `data/raw` from the first source that has all of it: already there, embedded in the
project, a mirror (`REWEIGH_MIRROR`, a folder or the beginning of a URL), the official site. Bytes from any source are
checked. A good file is never overwritten, and a bad one never kept.
"""

import contextlib
import datetime
import json
import logging
import os
import re
import secrets
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reweigh import canonical_json, locks, os_errors
from reweigh.data import transfer
from reweigh.data.catalogue import PATH, Dataset, Edition, Manifest, Source, content_digest
from reweigh.data.download import download, shown
from reweigh.data.transfer import Expected, Found
from reweigh.digest import digest
from reweigh.errors import DataError
from reweigh.terminal import printable

log = logging.getLogger(__name__)

__all__ = ["PATH", "Manifest", "content_digest", "ensure", "status"]

SOURCES = ("embedded", "mirror", "official")
PLACES = ("raw", *SOURCES, "by hand")  # nearest first
SOURCE_FILE = "SOURCE.json"  # beside the raw files of a data set: where each came from
PARTIAL = ".part-"


def ensure(
    dataset: str, root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> dict[str, Any]:
    """Put a data set into `root/dataset` and check it; return the content of its source file, `SOURCE.json`.

    That is `{dataset, edition, files: [{name, bytes, sha256, source, url}], fetched}`. `source` is "embedded",
    "mirror", "official" or "present" (it was there already); `url` is where anyone can get the same content, or `None`.
    `mirror` is a folder or the beginning of a URL; `None` means $REWEIGH_MIRROR, "" means no mirror.
    The data sets that this one needs are fetched too. Raises DataError if a file that is there has other bytes than the
    manifest says, or if no source has the data set.
    """
    catalogue = Manifest.load(manifest)
    for needed in catalogue[dataset].needs:
        ensure(needed, root, mirror, manifest)
    job = _Fetch(catalogue[dataset], Path(root) / dataset, catalogue.directory / "embedded", mirror_of(mirror))
    try:
        # Files without a source file may be those of a process that is about to write it: look again when it is done.
        if (edition := job.complete_edition()) and (body := job.source_file(edition)):
            return body
        with _alone(job.home) as job.locked:
            return job.write_source_file(job.complete_edition() or job.fetch())
    except OSError as error:
        why = os_errors.in_words(error) or f"{error}; free disk space or allow writing"
        raise DataError(f"data set {dataset}: {why}, then fetch again") from None


def status(
    root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> list[dict[str, Any]]:
    """One row per data set: `{dataset, title, edition, where, bytes, missing, note, how}`. Opens no file, no network.

    `where` is "raw" (fetched), "embedded", "mirror", "official" (a download) or "by hand" (it may not be redistributed,
    or was never published); if a data set needs others, the farthest of theirs and its own. `missing` lists the files
    that are not in raw; `how` says how to get the data set.
    """
    catalogue, place = Manifest.load(manifest), mirror_of(mirror)
    jobs = {
        name: _Fetch(entry, Path(root) / name, catalogue.directory / "embedded", place)
        for name, entry in catalogue.datasets.items()
    }
    return [job.row([jobs[name].where()[0] for name in job.entry.needs]) for job in jobs.values()]


@dataclass(frozen=True)
class _Offer:
    """One place that may have a file: a local path or a URL, and the file or archive that should be there."""

    kind: str
    location: Path | str
    packed: Source

    def exists(self) -> bool:
        """Whether it may be there; URLs are not asked."""
        return isinstance(self.location, str) or self.location.is_file()


@dataclass
class _Fetch:
    """The fetching of one data set: from where, to where, and what went wrong."""

    entry: Dataset
    home: Path
    embedded: Path
    mirror: Path | str | None
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    partials: set[Path] = field(default_factory=set)  # that this fetching downloads to
    locked: bool = True  # whether no other process of this machine can be at it

    def complete_edition(self) -> Edition | None:
        """The first edition whose files are all there. Raises DataError if one of them has the wrong bytes."""
        return next((edition for edition in self.entry.editions if edition.files and self._is_complete(edition)), None)

    def _is_complete(self, edition: Edition) -> bool:
        present = [file for file in edition.files if (self.home / file.name).is_file()]
        for file in present:
            path, expected = self.home / file.name, self._expected(file)
            self.found[file.name] = transfer.measure(path, expected)
            if wrong := transfer.fault(self.found[file.name], expected):
                raise DataError(f"{path}: {wrong}; delete it, then run: reweigh fetch {self.entry.name}")
        return len(present) == len(edition.files)

    def _expected(self, file: Source) -> Expected:
        """What a file must be. If no digest of it was published, what it was when it was fetched."""
        if file.sha256 or file.md5:
            return file.expected
        fetched = {entry["name"]: entry["sha256"] for entry in source_of(self.home).get("files", [])}
        return Expected(file.bytes, fetched.get(file.name))

    def fetch(self) -> Edition:
        """Get the first edition that the nearest sources have in full. Raises DataError, in one line, if none has."""
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                if edition.files and self._fetch_edition(edition, SOURCES[:nearest]):
                    return edition
        raise DataError(self._no_source())

    def _fetch_edition(self, edition: Edition, kinds: tuple[str, ...]) -> bool:
        """Get the missing files of an edition, if sources of these kinds may have all; whether it is complete."""
        missing = self._missing(edition)
        offers = [self._offers(edition, file, kinds) for file in missing]
        if not (all(offers) and all(map(self._take_first, missing, offers))):
            return False
        self._sweep()
        return True

    def _sweep(self) -> None:
        """Remove what was downloaded on the way, and what killed processes left; of others only what is old.

        A lock may be this machine's alone: what is young, a process of another machine may be writing.
        """
        for path in (*self.home.glob(f"{PARTIAL}*"), *self.home.glob(".*.tmp")):
            with contextlib.suppress(FileNotFoundError):
                if path in self.partials or time.time() - path.stat().st_mtime > canonical_json.LEFTOVER_SECONDS:
                    path.unlink()

    def _missing(self, edition: Edition) -> list[Source]:
        return [file for file in edition.files if not (self.home / file.name).is_file()]

    def _offers(self, edition: Edition, file: Source, kinds: tuple[str, ...]) -> list[_Offer]:
        """The places that may have a file, itself or in its archive, nearest first; local ones only if they exist."""
        sources = (file, edition.archives[file.archive]) if file.archive else (file,)
        places = [
            _Offer(kind, location, packed)
            for kind in kinds
            for packed in sources
            for location in self._places(packed, kind)
        ]
        return [offer for offer in places if offer.exists()]

    def _places(self, packed: Source, kind: str) -> list[Path | str]:
        """The paths or URLs at which one kind of source keeps a file or an archive."""
        if kind == "embedded" and packed.embedded:
            return [self.embedded / packed.embedded]
        if kind == "mirror" and packed.mirror and self.mirror:
            return [self.mirror / packed.mirror if isinstance(self.mirror, Path) else self.mirror + packed.mirror]
        return list(packed.urls) if kind == "official" else []

    def _take_first(self, file: Source, offers: list[_Offer]) -> bool:
        """Take a file from the first place that has it. A place that fails is logged and not tried again."""
        for offer in offers:
            if (key := (file.name, str(offer.location))) in self.failures:
                continue
            try:
                self._take(file, offer)
            except DataError as error:
                self.failures[key] = str(error)
                log.warning("%s; trying the next source", printable(str(error)))
                continue
            if not (file.sha256 or file.md5):
                log.warning("%s: no digest of it was published, so its content was not checked", printable(file.name))
            self.taken[file.name] = (offer.kind, str(offer.location) if offer.kind == "official" else None)
            return True
        return False

    def _take(self, file: Source, offer: _Offer) -> None:
        """Put one file from one place into raw. Raises DataError if the place fails or has something else."""
        in_archive = offer.packed is not file
        local = offer.location if isinstance(offer.location, Path) else self._downloaded(offer)
        try:
            if in_archive:
                member = file.member or file.name
                self._check_archive(local, offer.packed)
                with transfer.opened_member(local, member) as stream:
                    origin = f"{shown(str(offer.location))}:{member}"
                    found = transfer.write(stream, self.home / file.name, file.expected, origin)
            else:
                found = transfer.place(local, self.home / file.name, file.expected)
            self.found[file.name] = found
        except DataError:
            if isinstance(offer.location, str):
                local.unlink(missing_ok=True)
            raise

    def _check_archive(self, path: Path, archive: Source) -> None:
        """Raise DataError if an archive is not what it should be; each is read once."""
        if str(path) not in self.found:
            found = transfer.measure(path, archive.expected)
            if wrong := transfer.fault(found, archive.expected):
                raise DataError(f"{path}: {wrong}")
            self.found[str(path)] = found

    def _downloaded(self, offer: _Offer) -> Path:
        """The file behind a URL, downloaded into the data set's folder under a name that belongs to this URL."""
        name = str(offer.location).partition("?")[0].rsplit("/", 1)[-1]
        partial = self.home / f"{PARTIAL}{digest(offer.location)[:8]}-{name}"
        if not self.locked:  # two processes that append to one file would both fail
            partial = partial.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{name}")
        self.partials.add(partial)
        expected = offer.packed.expected
        if transfer.packing(name, offer.packed.name):
            expected = (offer.packed.download if offer.kind == "official" else None) or expected.packed
        return download(str(offer.location), partial, expected)

    def source_file(self, edition: Edition) -> dict[str, Any] | None:
        """The content of the source file of a complete edition; `None` if it is not there, or says something else."""
        before = source_of(self.home)
        body = self._source_file_body(edition, before)
        same = body == {key: before.get(key) for key in body} and _is_time(before.get("fetched"))
        return before if same else None

    def write_source_file(self, edition: Edition) -> dict[str, Any]:
        """Write the source file of a complete edition, unless it is as before; its content."""
        if before := self.source_file(edition):
            return before
        body = self._source_file_body(edition, source_of(self.home))
        body["fetched"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        canonical_json.write(self.home / SOURCE_FILE, json.dumps(body, indent=1) + "\n")
        return body

    def _source_file_body(self, edition: Edition, before: dict[str, Any]) -> dict[str, Any]:
        """What the source file has to say, but for the time. Of a file that was there it says what it said `before`."""
        entries = {(file["name"], file["sha256"]): file for file in before.get("files", [])}
        files = []
        for file in edition.files:
            found = self.found[file.name]
            entry = entries.get((file.name, found.sha256), {})
            source, url = self.taken.get(file.name, _known(entry, edition, file))
            files.append(
                {
                    "name": file.name,
                    "bytes": found.bytes,
                    "sha256": found.sha256,
                    "source": source,
                    "url": url or _public_url(edition, file),
                }
            )
        return {"dataset": self.entry.name, "edition": edition.name, "files": files}

    def where(self) -> tuple[str, Edition | None]:
        """The nearest place that has a complete edition. Looks at what exists, not into it; a URL is taken to exist."""
        for edition in self.entry.editions:
            if edition.files and all((self.home / file.name).is_file() for file in edition.files):
                return "raw", edition
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                if edition.files and all(self._offers(edition, file, SOURCES[:nearest]) for file in edition.files):
                    return SOURCES[nearest - 1], edition
        return "by hand", next(iter(self.entry.editions), None)

    def row(self, needed: Sequence[str] = ()) -> dict[str, Any]:
        """The row of this data set in `status`; `needed` are the places of the data sets that it needs."""
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

    def _no_source(self) -> str:
        """Why no source had the data set, and what to do, in one line."""
        reasons = "; ".join(dict.fromkeys(self.failures.values()))
        mirrored = [
            [source.mirror for source in (edition.archives.values() or edition.files)]
            for edition in self.entry.editions
        ]
        in_mirror = [" and ".join(map(str, paths)) for paths in mirrored if paths and None not in paths]
        advice = [self.entry.how] if self.entry.how else []
        if isinstance(self.mirror, Path) and not self.mirror.is_dir():
            advice.append(f"correct REWEIGH_MIRROR: {printable(self.mirror)} is neither a folder nor an http address")
        if in_mirror:
            advice.append(f"set REWEIGH_MIRROR to a folder or URL that has {', or '.join(in_mirror)}")
        if any(file.urls for edition in self.entry.editions for file in (*edition.files, *edition.archives.values())):
            advice.append(f"with a network connection run: reweigh fetch {self.entry.name}")
        return (
            f"data set {self.entry.name} is not available{f' ({reasons})' if reasons else ''}: {'; or '.join(advice)}"
        )


def mirror_of(mirror: str | None) -> Path | str | None:
    """The mirror as a path, or as a URL prefix that ends in a slash; `None` if there is none."""
    mirror = (os.environ.get("REWEIGH_MIRROR", "") if mirror is None else str(mirror)).strip()
    if web := re.match(r"https?://", mirror, re.IGNORECASE):
        return web[0].lower() + mirror[web.end() :].rstrip("/") + "/"
    if local := re.match(r"file:(//(localhost(?=/))?)?", mirror, re.IGNORECASE):
        mirror = urllib.parse.unquote(mirror[local.end() :])
    return Path(os.path.expanduser(mirror)) if mirror else None


def _known(entry: dict[str, Any], edition: Edition, file: Source) -> tuple[str, str | None]:
    """What an earlier source file says of where a file came from, as far as that can be."""
    addresses = (*file.urls, *(edition.archives[file.archive].urls if file.archive else ()))
    source, url = entry.get("source"), entry.get("url")
    return source if source in SOURCES else "present", url if url in addresses else None


def _public_url(edition: Edition, file: Source) -> str | None:
    """Where anyone can get a file: its own first URL, or its archive's."""
    urls = file.urls or (edition.archives[file.archive].urls if file.archive else ())
    return urls[0] if urls else None


def source_of(home: Path) -> dict[str, Any]:
    """The content of the source file in a data set's folder; empty if there is none, or none that can be read."""
    try:
        body = canonical_json.read(home / SOURCE_FILE)
        texts = [body["dataset"], body["edition"]]
        for file in body["files"]:
            texts += [file["name"], file["sha256"], file.get("source", ""), file.get("url") or ""]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return body if all(isinstance(text, str) for text in texts) else {}


def _is_time(text: Any) -> bool:
    """Whether a text is a time, as a source file says when its files were fetched."""
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[bool]:
    """Wait until no other process fetches into `home`; whether the disk has locks at all. One ends with its process."""
    home.mkdir(parents=True, exist_ok=True)
    with locks.opened(home / ".lock") as file:
        try:
            locked = locks.take(file, wait=True)
        except locks.NoLocks as missing:
            locks.without(str(missing), "two processes may fetch the same files, each for itself")
            locked = False
        yield locked
