"""The catalogue: what `data/manifest.yaml` says of each data set of the five papers."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reweigh import strict_yaml
from reweigh.data.transfer import Expected
from reweigh.digest import digest
from reweigh.errors import DataError
from reweigh.nearest import nearest
from reweigh.path_parts import is_inside

PATH = "data/manifest.yaml"


@dataclass(frozen=True)
class Source:
    """A file as it lies in `data/raw`, or an archive that holds such files.

    `bytes`, `sha256`, `md5` describe the content, `download` the packed file (.gz) that the URLs give. `archive` and
    `member` name the archive that holds a file, and its path there.
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
    """A data set: what it is, its licence, and its editions, the preferred one first.

    `needs` names the data sets whose files its reader reads too.
    """

    name: str
    title: str
    papers: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    click_through: bool
    editions: tuple[Edition, ...]
    how: str = ""
    needs: tuple[str, ...] = ()

    def digest(self) -> str:
        """Digest of the content of all files of all editions, wherever they are and however they are packed."""
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
            body = strict_yaml.read(path.read_bytes())
            datasets = {name: _dataset(name, entry) for name, entry in body["datasets"].items()}
        except FileNotFoundError:
            raise DataError(f"{path} is missing; run this in the project's own folder") from None
        except yaml.YAMLError as error:
            raise DataError(strict_yaml.problem(error, str(path))) from None
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: malformed manifest ({' '.join(str(error).split())})") from None
        return cls(datasets, path.parent)

    def __getitem__(self, name: str) -> Dataset:
        """A data set by name. Raises DataError that suggests the nearest name."""
        if name not in self.datasets:
            near = nearest(name, self.datasets)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(self.datasets)}"
            raise DataError(f"no data set {name!r}; {hint}")
        return self.datasets[name]

    def content_digest(self, name: str) -> str:
        """Digest of the content of a data set and of those that it needs."""
        own, needed = self[name].digest(), self[name].needs
        return digest([own, *map(self.content_digest, needed)]) if needed else own


def content_digest(name: str, path: str | Path = PATH) -> str:
    """Digest of the content of a data set and of those that it needs, by the manifest at `path`."""
    return Manifest.load(path).content_digest(name)


def _dataset(name: str, entry: dict[str, Any]) -> Dataset:
    if not re.fullmatch("[a-z0-9][a-z0-9_.-]*", str(name)):
        raise ValueError(f"{name!r:.80} is no name of a data set: small letters, digits, _ . and -")
    editions = tuple(_edition(edition, body) for edition, body in entry.get("editions", {}).items())
    rest = {key: value for key, value in entry.items() if key != "editions"}
    lists = {key: tuple(rest.get(key, ())) for key in ("papers", "needs")}
    return Dataset(name, editions=editions, **{**rest, **lists})


def _edition(name: str, body: dict[str, Any]) -> Edition:
    archives = {entry["name"]: _source(entry) for entry in body.get("archives", [])}
    files = tuple(_source(entry) for entry in body["files"])
    for file in files:
        if file.archive is not None and file.archive not in archives:
            raise KeyError(f"{file.name} names the archive {file.archive}, which is not listed")
    return Edition(name, files, archives, body.get("note", ""))


def _source(entry: dict[str, Any]) -> Source:
    stated = entry.get("sha256")
    if stated is not None and not re.fullmatch("[0-9a-f]{64}", stated if isinstance(stated, str) else ""):
        raise ValueError(f"the sha256 of {entry['name']} is {stated!r}; write 64 hex characters, in quotes")
    for key in ("name", "embedded", "mirror"):
        if (path := entry.get(key)) is not None and not (isinstance(path, str) and is_inside(path)):
            raise ValueError(f"{key} is {path!r:.80}; write a path below the data set's folder")
    download = Expected(**entry["download"]) if "download" in entry else None
    return Source(**{**entry, "urls": tuple(entry.get("urls", ())), "download": download})
