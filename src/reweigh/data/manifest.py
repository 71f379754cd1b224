"""The manifest: what every data set is made of, where it can be had, and how to tell that it is right.

`ensure` puts a data set into `data/raw` from the first source that has it whole: it is there already, it is embedded in
the project, it lies in a mirror (`REWEIGH_MIRROR`, a directory or the beginning of a URL), it can be downloaded from its
official place. Whatever the source, the bytes are checked; a good file is never overwritten and a bad one never kept.
"""

import contextlib
import datetime
import fcntl
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from reweigh.data import transfer
from reweigh.data.transfer import Expected
from reweigh.digest import digest
from reweigh.errors import DataError

PATH = "data/manifest.yaml"
SOURCES = ("embedded", "mirror", "official")
RECEIPT = "SOURCE.json"
PARTIAL = ".part-"


@dataclass(frozen=True)
class Source:
    """A file as it lies in `data/raw`, or an archive that holds such files.

    `bytes`, `sha256`, `md5` are those of the content; `download` those of the packed file (.gz) that the URLs give.
    `archive` and `member` say in which archive a file is, under which path.
    """

    name: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    embedded: str | None = None
    mirror: str | None = None
    urls: tuple[str, ...] = ()
    download: Expected | None = None
    archive: str | None = None
    member: str | None = None
    note: str = ""

    @property
    def expected(self) -> Expected:
        """What the content must be."""
        return Expected(self.bytes, self.sha256, self.md5)


@dataclass(frozen=True)
class Edition:
    """One form in which a data set exists: `official`, `reconstruction`, `slice`."""

    name: str
    files: tuple[Source, ...]
    archives: dict[str, Source] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set: what it is, what may be done with it, and its editions, the preferred one first."""

    name: str
    title: str
    papers: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    click_through: bool
    editions: tuple[Edition, ...]
    how: str = ""

    def digest(self) -> str:
        """Digest of the content of all files of all editions; where it lies and what it is called by others is left out."""
        content = {
            edition.name: {file.name: file.sha256 or file.md5 for file in edition.files} for edition in self.editions
        }
        return digest(content)


@dataclass(frozen=True)
class Manifest:
    """All data sets, and the directory of the manifest file, beside which the embedded ones lie."""

    datasets: dict[str, Dataset]
    directory: Path

    @classmethod
    def load(cls, path: str | Path = PATH) -> "Manifest":
        """Read the manifest. Raises DataError if it is missing or malformed."""
        path = Path(path)
        try:
            body = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            datasets = {name: _dataset(name, entry) for name, entry in body["datasets"].items()}
        except FileNotFoundError:
            raise DataError(f"{path} is missing; run this where the project lies") from None
        except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}: malformed manifest ({' '.join(str(error).split())})") from None
        return cls(datasets, path.parent)

    def __getitem__(self, name: str) -> Dataset:
        """A data set by name. Raises DataError that suggests the nearest name."""
        if name not in self.datasets:
            near = get_close_matches(name, self.datasets, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.datasets)}"
            raise DataError(f"no data set {name!r}; {hint}")
        return self.datasets[name]

    def content_digest(self, name: str) -> str:
        """Digest of what a data set contains, wherever it is had from."""
        return self[name].digest()


def content_digest(name: str, path: str | Path = PATH) -> str:
    """Digest of what a data set contains, by the manifest at `path`."""
    return Manifest.load(path).content_digest(name)


def _dataset(name: str, entry: dict[str, Any]) -> Dataset:
    editions = tuple(_edition(edition, body) for edition, body in entry.get("editions", {}).items())
    rest = {key: value for key, value in entry.items() if key != "editions"}
    return Dataset(name, editions=editions, **{**rest, "papers": tuple(rest["papers"])})


def _edition(name: str, body: dict[str, Any]) -> Edition:
    archives = {entry["name"]: _source(entry) for entry in body.get("archives", [])}
    files = tuple(_source(entry) for entry in body["files"])
    for file in files:
        if file.archive is not None and file.archive not in archives:
            raise KeyError(f"{file.name} is said to be in the archive {file.archive}, which is not listed")
    return Edition(name, files, archives, body.get("note", ""))


def _source(entry: dict[str, Any]) -> Source:
    download = Expected(**entry["download"]) if "download" in entry else None
    return Source(**{**entry, "urls": tuple(entry.get("urls", ())), "download": download})


def ensure(
    dataset: str, root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> dict[str, Any]:
    """Put a data set into `root/dataset`, checked; return its receipt, which also lies there as `SOURCE.json`.

    The receipt: `{dataset, edition, files: [{name, bytes, sha256, source, url}], fetched}`; `source` is "embedded", "mirror",
    "official" or "present" (it lay there already), `url` is where anyone can get the same content, `None` if nowhere.
    `mirror` is a directory or URL prefix; `None` means the environment's REWEIGH_MIRROR, "" none at all.
    Raises DataError if a file that is there is not what it should be, or if no source has the data set.
    """
    catalogue = Manifest.load(manifest)
    job = _Fetch(catalogue[dataset], Path(root) / dataset, catalogue.directory / "embedded", _mirror(mirror))
    if edition := job.complete_edition():
        return job.receipt(edition)
    with _alone(job.home):
        return job.receipt(job.complete_edition() or job.fetch())


def status(
    root: str | Path = "data/raw", mirror: str | None = None, manifest: str | Path = PATH
) -> list[dict[str, Any]]:
    """One row a data set: `{dataset, title, edition, where, bytes, missing, how}`, without opening or asking anything.

    `where` is "raw" (fetched), "embedded", "mirror", "official" (a download) or "by hand" (nobody may pass it on, or it was
    never published); `missing` lists the files that are not in raw; `how` says what to do to have it.
    """
    catalogue, mirror = Manifest.load(manifest), _mirror(mirror)
    rows = []
    for entry in catalogue.datasets.values():
        job = _Fetch(entry, Path(root) / entry.name, catalogue.directory / "embedded", mirror)
        where, edition = job.where()
        rows.append(
            {
                "dataset": entry.name,
                "title": entry.title,
                "edition": edition.name if edition else None,
                "where": where,
                "bytes": _sum([file.bytes for file in edition.files]) if edition else None,
                "missing": [file.name for file in edition.files if not (job.home / file.name).is_file()]
                if edition
                else [],
                "how": {"raw": "", "by hand": entry.how}.get(where, f"reweigh fetch {entry.name}"),
            }
        )
    return rows


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

    def complete_edition(self) -> Edition | None:
        """The first edition whose files are all there. Raises DataError if one of them is not what it should be."""
        return next((edition for edition in self.entry.editions if edition.files and self._all_right(edition)), None)

    def _all_right(self, edition: Edition) -> bool:
        present = [file for file in edition.files if (self.home / file.name).is_file()]
        for file in present:
            path = self.home / file.name
            if wrong := transfer.fault(transfer.measure(path), file.expected):
                raise DataError(f"{path}: {wrong}; delete it, then run: reweigh fetch {self.entry.name}")
        return len(present) == len(edition.files)

    def fetch(self) -> Edition:
        """Get the first edition that the nearest sources have whole. Raises DataError, in one line, if none has."""
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                if edition.files and self._fetch_edition(edition, SOURCES[:nearest]):
                    return edition
        raise DataError(self._nowhere())

    def _fetch_edition(self, edition: Edition, kinds: tuple[str, ...]) -> bool:
        missing = [file for file in edition.files if not (self.home / file.name).is_file()]
        offers = {
            file.name: [offer for kind in kinds for offer in self.offers(edition, file, kind)] for file in missing
        }
        done = all(
            found and self._take_first(file, found) for file, found in zip(missing, offers.values(), strict=True)
        )
        if done:
            for path in self._partials():
                path.unlink()
        return done

    def offers(self, edition: Edition, file: Source, kind: str) -> list[_Offer]:
        """Where a kind of source may have a file, itself or in its archive; local places that do not exist are left out."""
        places = []
        for packed in (file, *([edition.archives[file.archive]] if file.archive else [])):
            if kind == "embedded" and packed.embedded:
                places.append(_Offer(kind, self.embedded / packed.embedded, packed))
            elif kind == "mirror" and packed.mirror and self.mirror:
                inside = isinstance(self.mirror, Path)
                places.append(
                    _Offer(kind, self.mirror / packed.mirror if inside else self.mirror + packed.mirror, packed)
                )
            elif kind == "official":
                places.extend(_Offer(kind, url, packed) for url in packed.urls)
        return [offer for offer in places if offer.there()]

    def _take_first(self, file: Source, offers: list[_Offer]) -> bool:
        """Take a file from the first place that really has it; a place that fails is warned about and not asked again."""
        for offer in offers:
            if (key := (file.name, str(offer.location))) in self.failures:
                continue
            try:
                self._take(file, offer)
            except DataError as error:
                self.failures[key] = str(error)
                warnings.warn(f"{error}; trying the next source", stacklevel=2)
                continue
            self.taken[file.name] = (offer.kind, offer.location if offer.kind == "official" else None)
            return True
        return False

    def _take(self, file: Source, offer: _Offer) -> None:
        """Get one file from one place into its own. Raises DataError if the place fails or holds something else."""
        in_archive = offer.packed is not file
        local = offer.location if isinstance(offer.location, Path) else self._downloaded(offer)
        try:
            if in_archive:
                if wrong := transfer.fault(transfer.measure(local), offer.packed.expected):
                    raise DataError(f"{local}: {wrong}")
                with transfer.opened_member(local, file.member or file.name) as stream:
                    transfer.write(stream, self.home / file.name, file.expected, f"{offer.location}:{file.member}")
            else:
                transfer.place(local, self.home / file.name, file.expected)
        except DataError:
            if isinstance(offer.location, str):
                local.unlink(missing_ok=True)
            raise

    def _downloaded(self, offer: _Offer) -> Path:
        """The packed file behind a URL, downloaded beside its goal under a name that belongs to this URL."""
        name = str(offer.location).partition("?")[0].rsplit("/", 1)[-1]
        partial = self.home / f"{PARTIAL}{digest(offer.location)[:8]}-{name}"
        packed = offer.packed
        container = packed.download or Expected() if transfer.packing(name, packed.name) else packed.expected
        return transfer.download(str(offer.location), partial, container)

    def receipt(self, edition: Edition) -> dict[str, Any]:
        """The receipt of an edition that is there whole; written again only if it says something new."""
        path = self.home / RECEIPT
        before = _read_receipt(path)
        known = {(file["name"], file["sha256"]): file for file in before.get("files", [])}
        files = []
        for file in edition.files:
            found = transfer.measure(self.home / file.name)
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
        partial = path.with_name(f".{RECEIPT}.{os.getpid()}.tmp")
        partial.write_text(json.dumps(body, indent=1) + "\n")
        os.replace(partial, path)
        return body

    def where(self) -> tuple[str, Edition | None]:
        """The nearest place that has a whole edition, by what exists, without checking it; a URL mirror is believed."""
        for edition in self.entry.editions:
            if edition.files and all((self.home / file.name).is_file() for file in edition.files):
                return "raw", edition
        for nearest in range(1, len(SOURCES) + 1):
            for edition in self.entry.editions:
                offers = [
                    [offer for kind in SOURCES[:nearest] for offer in self.offers(edition, file, kind)]
                    for file in edition.files
                ]
                if offers and all(offers):
                    return SOURCES[nearest - 1], edition
        return "by hand", next(iter(self.entry.editions), None)

    def _partials(self) -> Iterator[Path]:
        return self.home.glob(f"{PARTIAL}*")

    def _nowhere(self) -> str:
        """Why no source had the data set, and what to do about it, in one line."""
        reasons = "; ".join(dict.fromkeys(self.failures.values()))
        in_mirror = [file.mirror for edition in self.entry.editions for file in edition.files if file.mirror]
        advice = [self.entry.how] if self.entry.how else []
        if in_mirror:
            advice.append(f"set REWEIGH_MIRROR to a directory or URL that has {in_mirror[0]}")
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


def _sum(sizes: list[int | None]) -> int | None:
    return None if None in sizes else sum(sizes)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no other process fetches into `home`; the lock goes when its process does."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
