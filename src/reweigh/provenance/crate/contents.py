"""The contents of a crate: the records of a scale, what was made from them, and the files that others need.

Nothing is written here. Everything is read once, in an order that does not depend on the machine.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reweigh.analysis.tables import fingerprint
from reweigh.artifacts import receipt
from reweigh.config.files import CARDS, CHOICES
from reweigh.config.names import ARTIFACT_ENDINGS
from reweigh.data import local_cards
from reweigh.data.arrays import Split
from reweigh.data.catalogue import Manifest
from reweigh.digest import file_digest
from reweigh.errors import DataError, RecordError, ReweighError
from reweigh.listing import is_leftover, visible
from reweigh.provenance.consistency import contradictions
from reweigh.records import record

WORKFLOW = "workflow/Snakefile"
LOCK = "envs/requirements.lock"
CITATION = "CITATION.cff"
PROJECT = (
    "CHANGELOG.md", CITATION, "LICENSE", "Makefile", "README.md", "Snakefile", "pyproject.toml",
    "config/**/*", "data/manifest.yaml", "data/published/*", "envs/*", "notebooks/**/*", "profiles/**/*",
    "src/reweigh/**/*", "workflow/**/*",
)  # fmt: skip
_HINT = "nothing is packed; see: reweigh audit --scale {}"
SCORECARD = ("csv", "html", "json", "md")


@dataclass(frozen=True)
class Output:
    """A figure, a table or the scorecard: its files, and the receipt of what it was made from; {} without a receipt."""

    stem: str  # figures/SCALE/PAPER/NAME, or results/SCALE/scorecard
    files: tuple[str, ...]
    receipt: dict[str, Any]


@dataclass(frozen=True)
class Contents:
    """The contents of one crate. Paths are relative to `root`, with `/`; `files` are all packed files, sorted."""

    root: Path
    scale: str
    records: dict[str, dict[str, Any]]  # run -> body
    artifacts: tuple[Output, ...]
    scorecard: Output | None
    files: tuple[str, ...]
    manifest: Manifest
    citation: dict[str, Any]  # of CITATION.cff

    @functools.cached_property
    def pins(self) -> dict[str, str]:
        """Package -> version in the lock of this project."""
        return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (self.root / LOCK).read_text(encoding="utf-8"), re.MULTILINE))

    @property
    def name(self) -> str:
        """The crate's name, which changes with every record."""
        return f"reweigh-{self.scale}-{fingerprint(body['digest'] for body in self.records.values())}"


def read(scale: str, root: Path) -> Contents:
    """Read the contents of a scale's crate.

    Raises ReweighError if there are no records, if one is broken, or if the folder is no project.
    """
    for needed in (WORKFLOW, LOCK, CITATION, "data/manifest.yaml"):
        if not (root / needed).is_file():
            raise ReweighError(f"{root / needed} is missing; a crate is made in the project's own folder")
    records, paths = _records(scale, root)
    scorecard = _output(f"results/{scale}/scorecard", SCORECARD, scale, root)
    artifacts = tuple(_output(stem, ARTIFACT_ENDINGS, scale, root) for stem in _stems(scale, root))
    files = {*paths, *(name for output in (*artifacts, scorecard) for name in output.files)}
    for pattern in (*PROJECT, f"results/{scale}/attestations/*.json", *_own(records)):
        files |= {
            path.relative_to(root).as_posix() for path in root.glob(pattern) if _kept(path.relative_to(root), root)
        }
    return Contents(
        root=root,
        scale=scale,
        records=records,
        artifacts=artifacts,
        scorecard=scorecard if scorecard.files else None,
        files=tuple(sorted(files)),
        manifest=Manifest.load(root / "data/manifest.yaml"),
        citation=yaml.safe_load((root / CITATION).read_text(encoding="utf-8")),
    )


def _own(records: dict[str, dict[str, Any]]) -> list[str]:
    """What belongs to runs on a user's own data, as patterns: card, list of images, what was asked for, page, csv.

    A card that no run was trained by is left out, and so are the data themselves.
    """
    found = set()
    for body in records.values():
        if local_cards.is_local(body["spec"]["data"]["dataset"]):
            card, paper = body["spec"]["data"]["options"]["card"], body["spec"]["paper"]
            found |= {f"{CARDS}/{card}.yaml", f"{CARDS}/{card}.files.csv", f"{CHOICES}/{card}.yaml"}
            found |= {f"results/{body['spec']['scale']}/{paper}/*.{ending}" for ending in ("html", "csv")}
    return sorted(found)


def _records(scale: str, root: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The records of a scale, and the paths of records and traces."""
    records, paths, broken = {}, [], []
    for path in record.files_of(scale, root).values():
        name = path.relative_to(root).as_posix()
        try:
            body = record.read(path)
            trace = record.trace_path(path, body)
        except RecordError as error:
            broken.append(str(error))
            continue
        if faults := contradictions(body):
            broken.append(f"{path}: {faults[0]}")
            continue
        if record.record_path(body["run"]).as_posix() != name:
            broken.append(f"{path}: it is the record of {body['run']}, moved here")
            continue
        records[body["run"]] = body
        paths += [name, *([] if trace is None else [trace.relative_to(root).as_posix()]), *_split_of(body, root)]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise ReweighError(f"{broken[0]}{more}; {_HINT.format(scale)}")
    if not records:
        raise ReweighError(f"there are no records at scale {scale}, so there is nothing to pack; train some: snakemake")
    return records, paths


def _split_of(body: dict[str, Any], root: Path) -> list[str]:
    """The file of a run's split and its report, if both exist and the split is the one that the record names."""
    path = root / body["split"]["path"]
    report = Path(body["split"]["path"]).with_suffix(".json").as_posix()
    try:
        same = Split.from_bytes(path.read_bytes()).digest() == body["split"]["digest"]
    except (OSError, ValueError, KeyError, DataError):
        return []
    return [body["split"]["path"], report] if same and (root / report).is_file() else []


def _stems(scale: str, root: Path) -> list[str]:
    """The figures and tables that exist, complete or not: `figures/SCALE/PAPER/NAME`."""
    return [path.relative_to(root).with_suffix("").as_posix() for path in visible(root / "figures" / scale, "*/*.csv")]


def _output(stem: str, endings: tuple[str, ...], scale: str, root: Path) -> Output:
    """The files with these endings, as far as they exist. Raises ReweighError if one is not what its receipt says."""
    files = tuple(f"{stem}.{ending}" for ending in sorted(endings) if (root / f"{stem}.{ending}").is_file())
    try:
        body = receipt.read(root / f"{stem}.json") if f"{stem}.json" in files else {}
    except RecordError as error:
        raise ReweighError(f"{stem}: {error}; {_HINT.format(scale)}") from None
    for ending, stated in body.get("files", {}).items():
        if f"{stem}.{ending}" in files and file_digest(root / f"{stem}.{ending}") != stated:
            raise ReweighError(f"{stem}.{ending} is not what its receipt says; {_HINT.format(scale)}")
    return Output(stem, files, body)


def _kept(path: Path, root: Path) -> bool:
    hidden = is_leftover(path) or "__pycache__" in path.parts
    return (root / path).is_file() and not hidden and path.suffix not in (".pyc", ".sif")
