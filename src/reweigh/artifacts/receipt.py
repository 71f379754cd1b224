"""Receipts: the JSON beside a figure, and beside the scorecard, that says what was made, from what, and by what.

    write(path, figure_basis(config, "paper", "tdr", "fig5"), {"csv": Path("fig5.csv"), ...})

It has the sha256 of each file that was made, the digest of each record that fed it, the sha256 of what else was read
(published numbers, the notebook), the digest of the code and the config that drew it, and the versions of libraries. It
states its own digest and no times: the same records and versions give the same bytes. Nothing here imports torch.
"""

import functools
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.digest import PACKAGE, digest, file_digest, source_digest
from reweigh.errors import RecordError

VERSION = 1
LOCK = "envs/requirements.lock"
LIBRARIES = ("matplotlib", "numpy", "pandas")
# Modules that decide how an artifact looks. Not all that they import: a new key in the config model redraws nothing.
RENDERING = ("artifacts/render", "plots", "analysis/tables", "stats")
SCORING = ("scorecard", "analysis/tables", "stats", "records/lineage")

Records = Mapping[str, Mapping[str, Any]]


def drawing_digest(config: Config, scale: str, paper: str, name: str) -> str:
    """How a figure is drawn: digest of the code, and of what the config says of it."""
    said, known = config.artifact(paper, name), config.paper(paper)
    titles = {method: one.title for method, one in known.methods.items()}
    experiments = {}
    for reads in said.reads:
        settings = known.experiments[reads.experiment].settings
        labels = {setting: [one.value, one.label] for setting, one in settings.items()}
        experiments[reads.experiment] = [config.cut(scale, paper, reads.experiment), labels]
    return digest([code_digest(RENDERING), said.model_dump(), titles, experiments])


def scoring_digest(config: Config) -> str:
    """How the scorecard is made: digest of the code, the claims and the mapping of published numbers."""
    papers = [config.paper(name) for name in config.project.papers]
    said = [paper.model_dump(include={"claims", "published", "findings"}) for paper in papers]
    return digest([code_digest(SCORING), said])


def figure_basis(config: Config, scale: str, paper: str, name: str, records: Records | None = None) -> dict[str, Any]:
    """What a figure would be made from now: `{records, inputs, drawing}`. Records are read unless they are given."""
    cells = [cell for extra in (False, True) for cell in config.cells_of(scale, paper, name, optional=extra)]
    runs = [run for cell in dict.fromkeys(cells) for run in config.runs_of(cell)]
    published = config.paper(paper).published
    inputs = [config.artifact(paper, name).notebook, *([published.file] if published else [])]
    return _basis(config, runs, inputs, drawing_digest(config, scale, paper, name), records)


def scorecard_basis(config: Config, runs: Iterable[str], records: Records | None = None) -> dict[str, Any]:
    """The same for the scorecard, which looks at these runs."""
    papers = [config.paper(name) for name in config.project.papers]
    inputs = [paper.published.file for paper in papers if paper.published]
    return _basis(config, runs, inputs, scoring_digest(config), records)


def _basis(
    config: Config, runs: Iterable[str], inputs: list[str], drawing: str, records: Records | None
) -> dict[str, Any]:
    from reweigh.analysis import tables  # pandas, which planning does without

    known = tables.records_of(runs, config.root) if records is None else records
    paths = {path: config.root / path for path in inputs}
    return {
        "records": [{"run": run, "digest": known[run]["digest"]} for run in runs if run in known],
        "inputs": {path: file_digest(there) if there.is_file() else None for path, there in paths.items()},
        "drawing": drawing,
    }


def write(path: Path, basis: dict[str, Any], made: Mapping[str, Path], root: str | Path = ".") -> Path:
    """Write the receipt of some files (by their endings), atomically, one key a line; its path."""
    lock = Path(root, LOCK)
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    body = {
        "receipt_version": VERSION,
        **basis,
        "files": {ending: file_digest(file) for ending, file in made.items()},
        "environment": {"python": platform.python_version(), **versions},
        "lock_digest": file_digest(lock) if lock.is_file() else None,
    }
    return canonical_json.write(path, canonical_json.text_of(canonical_json.seal(body)))


def read(path: Path) -> dict[str, Any]:
    """One receipt, checked against its own digest. Raises RecordError if it is not what was written."""
    try:
        content = path.read_bytes()
        body = canonical_json.parse(content)
        version = body["receipt_version"]
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{path.name}: not a readable receipt ({error!r})") from None
    if version != VERSION:
        raise RecordError(f"{path.name}: a receipt of version {str(version)[:20]}, not {VERSION}")
    if why := canonical_json.altered(body, content):
        raise RecordError(f"{path.name}: {why}")
    return body


@functools.cache
def code_digest(rooms: tuple[str, ...]) -> str:
    """Digest of the source and the templates of some rooms of reweigh, whatever they import from others."""
    files = [path for room in rooms for path in (PACKAGE / f"{room}.py", *sorted((PACKAGE / room).rglob("*.*")))]
    kept = [path for path in files if path.is_file() and path.suffix != ".pyc"]
    return digest({path.relative_to(PACKAGE).as_posix(): _content(path) for path in kept})


def _content(path: Path) -> str:
    return source_digest(path.read_text()) if path.suffix == ".py" else file_digest(path)
