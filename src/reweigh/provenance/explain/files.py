"""What else can be asked than a csv: one record, one split, one raw file.

A record's answer has its chain in `runs`; a split's the chains of the runs that read it; a raw file's says which data
set it belongs to and, in `used_by`, which runs name its sha256 (several seeds of a cell in one word).
"""

import re
from pathlib import Path
from typing import Any

from reweigh.analysis.tables import pack
from reweigh.data.catalogue import Manifest
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError
from reweigh.provenance.explain import formula
from reweigh.records import record

READS = (
    "the csv of a figure, a table or a scorecard, a record, a split, a raw file, the csv of published numbers or bench"
)
RUN = r"(?:results/|data/splits/)?(?P<run>(?:[^/]+/){4,5}seed\d+)(?:\.(?P<ending>json|npz))?"
RAW = r"data/raw/(?P<dataset>[^/]+)/(?P<name>.+)"


def of_path(path: Path, root: Path, asked: dict[str, str]) -> dict[str, Any] | None:
    """The answer for a record, a run's name, a split or a raw file; None for any other path. `path` is below `root`.

    Of a record, `asked` may hold `column`, the metric that is shown, and `epoch`, a point of its curve; nothing else,
    and nothing for the others. Raises ConfigError for what does not apply and for what is not there.
    """
    text = path.as_posix()
    if raw := re.fullmatch(RAW, text):
        _refuse_others(text, "a raw file", asked)
        return _raw(raw["dataset"], raw["name"], root)
    found = re.fullmatch(RUN, text)
    if found is None:
        return None
    if text.startswith("data/splits/") or found["run"].count("/") == 4:
        _refuse_others(text, "a split", asked)
        return _split(found["run"], root)
    _refuse_others(text, "a record", asked, ("column", "epoch"))
    return _record(found["run"], root, asked.get("column", "test_accuracy"), asked.get("epoch"))


def _refuse_others(text: str, what: str, asked: dict[str, str], known: tuple[str, ...] = ()) -> None:
    takes = "takes --column METRIC and --where epoch=N" if known else "takes no options"
    for name in asked:
        if name not in known:
            option = f"--{name}" if name in ("row", "column", "line") else f"--where {name}={asked[name]}"
            raise ConfigError(f"{text}: {option} does not apply; {what} {takes}")


def _record(run: str, root: Path, metric: str, epoch: str | None) -> dict[str, Any]:
    if epoch is not None and not (epoch.isdecimal() and len(epoch) < 10):
        raise ConfigError(f"--where epoch={epoch}: an epoch is a whole number, e.g. epoch=50")
    if not record.record_path(run, root).is_file():
        raise ConfigError(
            f"{record.record_path(run)}: no such record; train it with: snakemake {record.record_path(run)}"
        )
    facts, body = formula.chain_of(run, root, metric, None if epoch is None else float(epoch))
    if body is not None:
        facts["metric"] = metric if epoch is None else f"{metric} after epoch {epoch}"
        facts["value"] = facts["value"] if isinstance(facts["value"], int | float) else None
        if facts["value"] is None:
            known = [name for name, value in body["metrics"].items() if isinstance(value, int | float)]
            raise ConfigError(f"{facts['record']}: no {facts['metric']}; metrics: {', '.join(known)}; "
                              f"on curves: {', '.join(body['curves'])}")  # fmt: skip
        fault = _misplaced(run, body)
    else:
        fault = facts["state"]
    return {
        "kind": "record",
        **_file(facts["record"], root),
        "fault": fault,
        "runs": [facts],
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
        raise ConfigError(
            f"{file}: no record in results/{folder} was made from it; draw it with: reweigh split {split}"
        )
    chains = [formula.chain_of(run, root)[0] for run in runs]
    digests = {one["split"]["digest"] for one in chains if "digest" in one}
    gone = [one["state"] for one in chains if "digest" not in one]
    several = (
        f"its records name {len(digests)} different splits; audit them: reweigh audit --scale {split.split('/')[0]}"
    )
    fault = several if len(digests) > 1 else gone[0] if gone else ""
    return {"kind": "split", **_file(file, root), "fault": fault, "runs": chains}


def _raw(dataset: str, name: str, root: Path) -> dict[str, Any]:
    """A raw file by the manifest: its address and digests, and the runs that name it."""
    catalogue = Manifest.load(root / "data/manifest.yaml")
    try:
        editions = catalogue[dataset].editions
    except DataError as error:
        raise ConfigError(str(error)) from None
    known: dict[str, dict[str, Any]] = {}
    for edition in editions:
        for file in edition.files:
            known.setdefault(file.name, formula.stated(dataset, edition, file))
    if name not in known:
        raise ConfigError(f"data/raw/{dataset} has no {name!r} by data/manifest.yaml; known: {', '.join(known)}")
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
