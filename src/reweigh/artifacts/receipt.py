"""Receipts: the JSON beside a figure, and beside the scorecard, that says what was made, from what, and by what.

    write(path, figure_basis(config, "paper", "tdr", "fig5"), {"csv": Path("fig5.csv"), ...})

It has the sha256 of each file that was made, the digest of each record that fed it, the sha256 of what else was read
(published numbers, the notebook), the digest of the code and the config that rendered it, and the versions of
libraries. Methods that it shows `beside` those of the paper are named. It states its own digest and no times: the same
records and versions give the same bytes. Nothing here imports torch.
"""

import functools
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.config.models import Paper
from reweigh.digest import OURS, PACKAGE, closure, digest, file_digest
from reweigh.errors import RecordError
from reweigh.listing import visible
from reweigh.os_errors import hides, unseen
from reweigh.terminal import printable

VERSION = 2
LOCK = "envs/requirements.lock"
LIBRARIES = ("matplotlib", "numpy", "pandas")
# Modules and packages that decide how an artifact looks; what they import to make numbers counts too (`_counts`).
RENDERING = ("artifacts/render", "plots")
BESIDE = ("analysis/beside", "config/own")  # of artifacts that show methods beside those of the paper
SCORING = ("scorecard",)
NUMBERS = ("analysis", "plots", "records/lineage.py")  # and the modules of the package itself, but for
PLUMBING = ("canonical_json.py", "digest.py", "errors.py", "locks.py", "os_errors.py", "plugins.py", "terminal.py")

Records = Mapping[str, Mapping[str, Any]]


class OldReceiptError(RecordError):
    """A receipt that an older version of this program wrote: what it is for must be made again."""


def rendering_digest(config: Config, scale: str, paper: str, name: str) -> str:
    """How an artifact is rendered: digest of the code, and of what the config says of it."""
    artifact, whole = config.artifact(paper, name), config.paper(paper)
    experiments = {}
    for reads in artifact.reads:
        settings = whole.experiments[reads.experiment].settings
        labels = {setting: [one.value, one.label] for setting, one in settings.items()}
        experiments[reads.experiment] = [config.cut(scale, paper, reads.experiment), labels]
    beside = config.beside(paper, name)
    drawn_by = code_digest(RENDERING + BESIDE) if beside else code_digest(RENDERING)
    return digest([drawn_by, artifact.model_dump(), _names(whole, beside), experiments])


def scoring_digest(config: Config) -> str:
    """How the scorecard is made: digest of the code, the claims, the mapping of published numbers, methods' names."""
    papers = [config.paper(name) for name in config.project.papers]
    rules = [paper.model_dump(include={"claims", "published", "findings"}) for paper in papers]
    return digest([code_digest(SCORING), rules, [_names(paper, paper.own) for paper in papers]])


def _names(paper: Paper, own: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """What readers are told of each method: its title, and whose values it has. Of one's own only of those named."""
    told = {method: one for method, one in paper.methods.items() if not one.joins or method in own}
    return {method: (one.title, one.values) for method, one in told.items()}


def figure_basis(config: Config, scale: str, paper: str, name: str, records: Records | None = None) -> dict[str, Any]:
    """What a figure would be made from now: `{records, inputs, rendering}`. Records are read unless they are given."""
    cells = [cell for extra in (False, True) for cell in config.cells_of(scale, paper, name, optional=extra)]
    runs = [run for cell in dict.fromkeys(cells) for run in config.runs_of(cell)]
    published, artifact = config.paper(paper).published, config.artifact(paper, name)
    measured = artifact.options.get("measured")  # a file of `reweigh bench` that it shows
    inputs = [artifact.notebook, *([published.file] if published else []), *([measured] if measured else [])]
    basis = _basis(config, runs, inputs, rendering_digest(config, scale, paper, name), records)
    beside = config.beside(paper, name)
    return {**basis, "beside": beside} if beside else basis


def scorecard_basis(config: Config, runs: Iterable[str], records: Records | None = None) -> dict[str, Any]:
    """The same for the scorecard, which looks at these runs."""
    papers = [config.paper(name) for name in config.project.papers]
    inputs = [file for paper in papers if paper.published for file in paper.published.files]
    return _basis(config, runs, inputs, scoring_digest(config), records)


def _basis(
    config: Config, runs: Iterable[str], inputs: list[str], rendering: str, records: Records | None
) -> dict[str, Any]:
    from reweigh.analysis import tables  # pandas, which planning does without

    bodies = tables.records_of(runs, config.root) if records is None else records
    paths = {path: config.root / path for path in inputs}
    return {
        "records": [{"run": run, "digest": bodies[run]["digest"]} for run in runs if run in bodies],
        "inputs": {path: file_digest(there) if there.is_file() else None for path, there in paths.items()},
        "rendering": rendering,
    }


SHAPE: dict[Any, Any] = {
    "records": [{"run": str, "digest": str}], "inputs": {...: (str, None)}, "rendering": str, "files": {...: str},
    "environment": {...: str}, "lock_digest": (str, None), "digest": str,
}  # fmt: skip


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
    """One receipt, checked against its own digest. Raises RecordError if it is not what was written.

    One that is, by an older version of this program, raises OldReceiptError; one that the system hides, UnseenError.
    """
    try:
        content = path.read_bytes()
        body = canonical_json.parse(content)
        version = body["receipt_version"]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and hides(error):
            raise unseen(error, path) from None
        raise RecordError(f"{path.name}: not a readable receipt ({error!r})") from None
    why, stated = canonical_json.altered(body, content), f"a receipt of version {str(version)[:20]}, not {VERSION}"
    if not why and type(version) is int and version < VERSION:
        raise OldReceiptError(f"{path.name}: {stated}: an older reweigh wrote it")
    if version != VERSION:
        raise RecordError(f"{path.name}: {stated}")
    if why:
        raise RecordError(f"{path.name}: {why}")
    if where := canonical_json.misshapen(body, SHAPE):
        raise RecordError(f"{path.name}: not a receipt, at {printable(where)[:80]}")
    return body


@functools.cache
def code_digest(parts: tuple[str, ...]) -> str:
    """Digest of the source and the templates of some modules and packages, and of what they import for numbers."""
    return digest(code_files(parts))


def code_files(parts: Iterable[str]) -> dict[str, str]:
    """The files that `code_digest` is of, by path in this package, with the digest of each."""
    paths = [path for part in parts for path in (PACKAGE / f"{part}.py", *visible(PACKAGE / part, "**/*.*"))]
    there = {path.relative_to(PACKAGE): path for path in paths if path.is_file() and path.suffix != ".pyc"}
    modules = [".".join((OURS, *name.with_suffix("").parts)) for name in there if name.suffix == ".py"]
    templates = {name.as_posix(): file_digest(path) for name, path in there.items() if name.suffix != ".py"}
    return {**closure([module.removesuffix(".__init__") for module in modules], _counts), **templates}


def _counts(key: str) -> bool:
    """Whether an imported file makes numbers. Others do not: a new key in the config's model changes no figure."""
    return ("/" not in key and key not in PLUMBING) or key.startswith(NUMBERS)
