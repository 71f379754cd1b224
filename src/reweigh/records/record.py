"""Records: the JSON that a run leaves, with all that is needed to trace its numbers back.

A record is written once, as a whole, after its trace file, and has its own digest. Three more digests say what it
depends on: `spec` (what was asked for), `code` (the source that the run imports) and `split` (how its data were drawn).
A record is current while all three are the same today, or an attestation says that today's code gives the same numbers.
Nothing here imports torch. `provenance/record_schema.py` says what each key means.
"""

import functools
from pathlib import Path
from typing import Any

from reweigh import array_files, canonical_json, plugins
from reweigh.digest import closure, digest, file_digest
from reweigh.errors import RecordError
from reweigh.listing import visible
from reweigh.os_errors import hides, unseen
from reweigh.path_parts import below
from reweigh.records.attestations import Attestations
from reweigh.terminal import printable

RECORD_VERSION = 3  # of what is written
READABLE = (1, 2, 3)

Stamp = tuple[int, int]  # of a file: modification time in nanoseconds, inode

# What every run executes; method, loss, model and reader come on top.
ENGINE = "reweigh.training.engine"

# What every record of any version has, as far as somebody reads it: an audit checks the rest (`record_schema`).
NUMBER = (int, float)
SPEC: dict[Any, Any] = {
    "scale": str, "paper": str, "experiment": str, "setting": str, "method": str, "seed": int, "uses": str,
    "method_options": {}, "model": {"name": str, "options": {}}, "training": {},
    "data": {"dataset": str, "options": {}, "split": {}},
}  # fmt: skip
RAW = {"dataset": str, "edition": str, "name": str, "bytes": int, "sha256": str, "source": str, "url": (str, None)}
SHAPE: dict[Any, Any] = {
    "run": str, "status": str, "spec": SPEC, "spec_digest": str, "code": {"digest": str, "files": {...: str}},
    "split": {"path": str, "digest": str, "recipe_digest": str, "sizes": {...: [int]}}, "raw": [RAW],
    "metrics": {}, "curves": {}, "device": {"kind": str, "name": str}, "environment": {},
    "git": {"commit": (str, None)},
    "steps": int, "seconds": NUMBER, "gpu_seconds": NUMBER, "peak_bytes": (int, None), "parameters": int,
    "started": str, "ended": str, "diverged_at_step": (int, None), "digest": str, "record_version": int,
    "trace": (None, {"file": str, "sha256": str, "arrays": {...: [int]}}),
}  # fmt: skip
KEYS = set(SHAPE)


def record_path(run: str, root: str | Path = ".") -> Path:
    """The path of a run's record: `results/RUN.json` below the project's root.

    Raises ConfigError for a name that would lead out of `results`.
    """
    return Path(root) / "results" / f"{below(run)}.json"


def files_of(scale: str, root: str | Path = ".", ending: str = "json") -> dict[str, Path]:
    """The files that runs of a scale left, by run, sorted: records, or with the ending npz traces.

    A file that somebody put among them is there too, under a name that is perhaps no run's.
    """
    results = Path(root) / "results"
    paths = visible(results / scale, f"*/*/*/*/seed*.{ending}")
    return {path.relative_to(results).with_suffix("").as_posix(): path for path in paths}


def reader_module(dataset: str) -> str:
    """The module that reads a data set: `cifar10-slice` -> `reweigh.data.readers.cifar10_slice`."""
    return f"reweigh.data.readers.{dataset.replace('-', '_')}"


@functools.cache
def _closure(*modules: str) -> dict[str, str]:
    return closure(modules)


def code_files(spec: dict[str, Any]) -> dict[str, str]:
    """The source files that a run of `spec` executes -> their digests: engine, method, loss, model, reader."""
    loss = spec["method_options"].get("loss")
    return _closure(
        ENGINE,
        plugins.module_of("methods", spec["uses"]),
        plugins.module_of("losses", loss["name"] if loss else "cross_entropy"),
        f"reweigh.models.{spec['model']['name']}",
        reader_module(spec["data"]["dataset"]),
    )


def code_digest(spec: dict[str, Any]) -> str:
    """The digest of all the source that a run executes."""
    return digest(code_files(spec))


def write(path: str | Path, body: dict[str, Any]) -> dict[str, Any]:
    """Write a record with its own digest; return it. A body that was a record before keeps its version."""
    record = canonical_json.seal({"record_version": RECORD_VERSION, **body})
    canonical_json.write(path, canonical_json.text_of(record))
    return record


def read(path: str | Path) -> dict[str, Any]:
    """Read a record and check it against its own digest.

    Raises RecordError if it is missing, is not JSON, has an unknown version, was changed after it was written (even if
    only its text was), or has not `SHAPE`. Where the system lets nobody look at it, that is an UnseenError.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        record = canonical_json.parse(content)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such record; train it with: snakemake {path}") from None
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and hides(error):
            raise unseen(error, path) from None
        raise RecordError(f"{path}: not a readable record ({error}); delete it and train again") from None
    version = record.get("record_version")
    if isinstance(version, int) and version > RECORD_VERSION:
        raise RecordError(f"{path}: a record of version {version}, newer than this Reweigh reads; update Reweigh")
    if type(version) is not int or version not in READABLE:
        raise RecordError(f"{path}: not a record of a version from 1 to {RECORD_VERSION}; delete it and train again")
    if why := canonical_json.altered(record, content):
        raise RecordError(f"{path}: {why}; it was changed by hand: restore it or train again")
    if lacking := KEYS - record.keys():
        raise RecordError(f"{path}: it lacks {', '.join(sorted(lacking))}; restore it or train again")
    if where := canonical_json.misshapen(record, SHAPE):
        raise RecordError(f"{path}: not a record, at {printable(where)[:80]}; restore it or train again")
    return record


def stamp(path: str | Path) -> Stamp | None:
    """A value that changes when a record is written again; None if there is no record."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def trace_path(path: str | Path, record: dict[str, Any]) -> Path | None:
    """The arrays beside a record (class weights at every outer step), checked against the record's digest of them.

    Returns None for a run that logged no arrays. Raises RecordError if the file is missing, altered, or has more than
    the arrays that the record names.
    """
    if record["trace"] is None:
        return None
    try:
        trace = Path(path).with_name(record["trace"]["file"])
    except (TypeError, ValueError):
        raise RecordError(f"{path}: names no file of arrays; delete the record and train again") from None
    if not trace.is_file():
        raise RecordError(f"{trace}: missing, though {path} names it; delete the record and train again")
    if (actual := file_digest(trace)) != record["trace"]["sha256"]:
        raise RecordError(
            f"{trace}: sha256 {actual[:12]}, expected {record['trace']['sha256'][:12]}; delete it and train again"
        )
    try:
        array_files.check(trace, array_files.room_of(record["trace"]["arrays"]))
    except ValueError as error:
        raise RecordError(
            f"{trace}: not the arrays of its record ({error}); delete the record and train again"
        ) from None
    return trace


def stale_because(
    record: dict[str, Any], spec: dict[str, Any], split_recipe: str, attested: Attestations | None = None
) -> list[str]:
    """The parts of "spec", "code", "split" that changed since a record was made; [] if it is current.

    A change that `attested` accepts for this record does not count.
    """
    now = {"spec": digest(spec), "code": code_digest(spec), "split": split_recipe}
    then = {"spec": record["spec_digest"], "code": record["code"]["digest"], "split": record["split"]["recipe_digest"]}
    changed = [part for part in now if now[part] != then[part]]
    if attested is None:
        return changed
    return [part for part in changed if not attested.step(record["digest"], part, then[part], now[part])]
