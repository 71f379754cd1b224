"""What else can be asked than a csv: one record, one split, one raw file.

A record's answer has its chain in `runs`; a split's the chains of the runs that read it; a raw file's says which data
set it belongs to and, in `used_by`, which runs name its sha256 (several seeds of a cell in one word).
"""

import re
from pathlib import Path
from typing import Any

from reweigh import chain, record
from reweigh.data.catalogue import Manifest
from reweigh.digest import file_digest
from reweigh.errors import DataError, ReweighError
from reweigh.provenance.explain import formula
from reweigh.results import pack

RUN = r"(?:results/|data/splits/)?(?P<run>(?:[^/]+/){4,5}seed\d+)(?:\.(?P<ending>json|npz))?"
RAW = r"data/raw/(?P<dataset>[^/]+)/(?P<name>.+)"


def of_path(path: Path, root: Path, column: str | None, epoch: str | None) -> dict[str, Any] | None:
    """The answer for a record, a run's name, a split or a raw file; None for any other path.

    Of a record, `column` names the metric that is shown, `epoch` a point of its curve.
    """
    shown = path.resolve().relative_to(root.resolve()) if path.is_absolute() else path
    text = shown.as_posix().removeprefix("./")
    if raw := re.fullmatch(RAW, text):
        return _raw(raw["dataset"], raw["name"], root)
    found = re.fullmatch(RUN, text)
    if found is None:
        return None
    if text.startswith("data/splits/") or found["run"].count("/") == 4:
        return _split(found["run"], root)
    return _record(found["run"], root, column or "test_accuracy", epoch)


def _record(run: str, root: Path, metric: str, epoch: str | None) -> dict[str, Any]:
    facts, body = chain.of_run(run, root, metric, None if epoch is None else float(epoch))
    if body is not None:
        facts["metric"] = metric if epoch is None else f"{metric} after epoch {epoch}"
        facts["value"] = facts["value"] if isinstance(facts["value"], int | float) else None
        if facts["value"] is None:
            known = [name for name, value in body["metrics"].items() if isinstance(value, int | float)]
            raise ReweighError(f"{facts['record']}: no {facts['metric']}; metrics: {', '.join(known)}; "
                               f"on curves: {', '.join(body['curves'])}")  # fmt: skip
        fault = _misplaced(run, body)
    else:
        fault = facts["state"]
    return {
        "kind": "record",
        **_file(facts["record"], root),
        "fault": fault,
        "runs": [formula.with_homepages(facts, root)],
    }


def _misplaced(run: str, body: dict[str, Any]) -> str:
    """What is wrong with a record that is whole, but not that of its place."""
    if body["run"] == run:
        return ""
    return (
        f"it is the record of {body['run']}, moved here; restore {record.record_path(run).as_posix()} or train it again"
    )


def _split(split: str, root: Path) -> dict[str, Any]:
    """The runs of a setting and seed whose records are there: each says which split it read."""
    folder, _, seed = split.rpartition("/")
    paths = sorted((root / "results" / folder).glob(f"*/{seed}.json"))
    runs = [path.relative_to(root / "results").with_suffix("").as_posix() for path in paths]
    file = f"data/splits/{split}.npz"
    if not runs:
        raise ReweighError(
            f"{file}: no record in results/{folder} was made from it; draw it with: reweigh split {split}"
        )
    chains = [formula.with_homepages(chain.of_run(run, root)[0], root) for run in runs]
    digests = {one["split"]["digest"] for one in chains if "digest" in one}
    gone = [one["state"] for one in chains if "digest" not in one]
    several = (
        f"its records name {len(digests)} different splits; audit them: reweigh audit --scale {split.split('/')[0]}"
    )
    fault = several if len(digests) > 1 else gone[0] if gone else ""
    return {"kind": "split", **_file(file, root), "fault": fault, "runs": chains}


def _raw(dataset: str, name: str, root: Path) -> dict[str, Any]:
    """A raw file by the manifest: its address and digests, and the runs that name it."""
    try:
        editions = Manifest.load(root / "data/manifest.yaml")[dataset].editions
    except DataError as error:
        raise ReweighError(str(error)) from None
    known: dict[str, dict[str, Any]] = {}
    for edition in editions:
        for file in edition.files:
            known.setdefault(file.name, formula.stated(dataset, edition, file))
    if name not in known:
        raise ReweighError(f"data/raw/{dataset} has no {name!r} by data/manifest.yaml; known: {', '.join(known)}")
    shown, said = _file(f"data/raw/{dataset}/{name}", root), known[name]
    found, right = shown["sha256"], said["sha256"]
    wrong = f"sha256 {str(found)[:12]}, the manifest says {str(right)[:12]}"
    fault = (
        f"{wrong}; move it away and get it again: reweigh fetch {dataset}"
        if found and right not in (None, found)
        else ""
    )
    return {
        "kind": "raw",
        **shown,
        "fault": fault,
        "dataset": dataset,
        "what": said["what"],
        "stated_sha256": right,
        "bytes": said["bytes"],
        "url": said["url"],
        "used_by": _users(right, root),
    }


def _users(sha256: str | None, root: Path) -> list[str]:
    """The runs whose records name a raw file's sha256, without parsing them: there may be thousands."""
    if sha256 is None:
        return []
    wanted = f'"sha256":"{sha256}"'.encode()
    paths = sorted((root / "results").glob("*/*/*/*/*/seed*.json"))
    runs = [
        path.relative_to(root / "results").with_suffix("").as_posix() for path in paths if wanted in path.read_bytes()
    ]
    return pack(runs).split()


def _file(shown: str, root: Path) -> dict[str, Any]:
    path = root / shown
    return {"file": shown, "sha256": file_digest(path) if path.is_file() else None}
