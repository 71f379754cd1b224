"""Files among results, figures, splits, published numbers and docs that nothing names.

A file that no run, artifact, receipt or page of the project names proves nothing, whatever it says: a csv of better
numbers beside the figures, a page beside the docs. It may as well be a user's own notes, so that it is `unverifiable`.
Hidden files and editors' copies are left out.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from reweigh.bench import APART
from reweigh.config.files import PUBLISHED
from reweigh.config.grid import Config
from reweigh.config.names import ARTIFACT_ENDINGS, RunName
from reweigh.errors import ReweighError
from reweigh.listing import is_leftover_name
from reweigh.provenance.audit.links import Link
from reweigh.records.commit import git, has_repository

SEED = re.compile(r"seed\d+")
OF_A_SCALE = ("scorecard.csv", "scorecard.md", "scorecard.html", "scorecard.json", "audit.json")
OF_THE_BENCH = ("bench.csv", "bench.png", *(f"{name}.csv" for name in APART))


def check_unlisted(config: Config, scale: str, root: Path) -> Iterator[Link]:
    """One link for each such file; none for a file that something names, whose own link says how it is."""
    known: dict[str, Callable[[PurePosixPath], bool]] = {
        f"results/{scale}": lambda path: _is_result(config, scale, path),
        "results/bench": lambda path: path.name in OF_THE_BENCH,
        f"figures/{scale}": lambda path: _is_figure(config, scale, path),
        f"data/splits/{scale}": lambda path: _is_split(config, path),
        PUBLISHED: lambda path: path.as_posix() in _published(config),
    }
    if has_repository(root):
        listed = (git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", "docs") or b"").decode(errors="replace")
        pages = set(listed.split("\0"))
        known["docs"] = lambda path: path.as_posix() in pages
    for folder, names in known.items():
        for path in _files(root, folder):
            if not names(path):
                yield Link("unlisted", path.as_posix(), "unverifiable", "no run, artifact, receipt or page names it")


def _files(root: Path, folder: str) -> Iterator[PurePosixPath]:
    """The visible files of a folder, relative to the project's."""
    for above, folders, files in os.walk(root / folder):
        folders[:] = sorted(name for name in folders if not is_leftover_name(name))
        inside = PurePosixPath(Path(above).relative_to(root).as_posix())
        yield from (inside / name for name in sorted(files) if not is_leftover_name(name))


def _is_result(config: Config, scale: str, path: PurePosixPath) -> bool:
    """A record or its trace, an attestation, the scorecard or a report."""
    if path.parts[2] == "attestations":
        return len(path.parts) == 4 and path.suffix == ".json"
    if len(path.parts) == 3:
        return path.name in OF_A_SCALE
    return path.suffix in (".json", ".npz") and _is_run(path.relative_to("results").with_suffix("").as_posix())


def _is_run(name: str) -> bool:
    """Whether a name is that of a run; whether the config has it is what its record's link says."""
    try:
        return str(RunName.parse(name)) == name
    except (ReweighError, ValueError):
        return False


def _is_figure(config: Config, scale: str, path: PurePosixPath) -> bool:
    """A file of an artifact; whether the config has it is what its receipt's link says."""
    endings = (*ARTIFACT_ENDINGS, "failed.ipynb")
    return len(path.parts) == 4 and any(path.name.endswith(f".{ending}") for ending in endings)


def _is_split(config: Config, path: PurePosixPath) -> bool:
    """A split of a setting that the config has, or its report."""
    if len(path.parts) != 7 or path.suffix not in (".npz", ".json") or not SEED.fullmatch(path.stem):
        return False
    paper, experiment, setting = path.parts[3:6]
    try:
        return setting in config.experiment(paper, experiment).settings
    except ReweighError:
        return False


def _published(config: Config) -> set[str]:
    """The files of published numbers that papers name."""
    return {file for paper in config.papers.values() if paper.published for file in paper.published.files}
