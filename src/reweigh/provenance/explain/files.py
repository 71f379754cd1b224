"""Explaining a single record, split or raw file, instead of a csv.

The answer for a record has its chain in `runs`; that for a split the chains of the runs that read it; that for a raw
file its data set and, in `used_by`, the runs that name its sha256 (as `join_runs` writes them).
"""

import re
from pathlib import Path
from typing import Any

from reweigh import metrics
from reweigh.analysis.tables import join_runs
from reweigh.config.loading import load
from reweigh.config.names import NotAName, RunName, SplitName
from reweigh.config.specs import SCALES
from reweigh.data.catalogue import Manifest
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError
from reweigh.provenance.explain import formula
from reweigh.records import record

READS = (
    "the csv of a figure, a table or a scorecard, a record, a split, a raw file, the csv of published numbers or bench"
)
RECORD_OR_SPLIT = r"(?:results/|data/splits/)?(?P<name>(?:[^/]+/){4,5}seed\d+)(?:\.(?:json|npz))?"
RAW = r"data/raw/(?P<dataset>[^/]+)/(?P<name>.+)"


def of_path(path: Path, root: Path, asked: dict[str, str]) -> dict[str, Any] | None:
    """The answer for a record, a run's name, a split or a raw file; None for any other path. `path` is below `root`.

    For a record, `asked` may hold `column`, the metric to show, and `epoch`, a point of its curve. Raises ConfigError
    for options that do not apply, and for files that do not exist.
    """
    text = path.as_posix()
    if raw := re.fullmatch(RAW, text):
        _refuse_others(text, "a raw file", asked)
        return _raw(raw["dataset"], raw["name"], root)
    match = re.fullmatch(RECORD_OR_SPLIT, text)
    if match is None:
        return None
    if text.startswith("data/splits/") or match["name"].count("/") == 4:
        _refuse_others(text, "a split", asked)
        return _split(SplitName.parse(match["name"]), root)
    _refuse_others(text, "a record", asked, ("column", "epoch"))
    return _record(str(RunName.parse(match["name"])), root, asked.get("column", "test_accuracy"), asked.get("epoch"))


def _refuse_others(text: str, what: str, asked: dict[str, str], allowed: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for an option that does not apply."""
    takes = "takes --column METRIC and --where epoch=N" if allowed else "takes no options"
    for name in asked:
        if name not in allowed:
            option = f"--{name}" if name in ("row", "column", "line") else f"--where {name}={asked[name]}"
            raise ConfigError(f"{text}: {option} does not apply; {what} {takes}")


def _record(run: str, root: Path, metric: str, epoch: str | None) -> dict[str, Any]:
    if epoch is not None and not (epoch.isdecimal() and len(epoch) < 10):
        raise ConfigError(f"--where epoch={epoch}: an epoch is a whole number, e.g. epoch=50")
    if not record.record_path(run, root).is_file():
        _check_in_grid(RunName.parse(run), root)
        raise ConfigError(
            f"{record.record_path(run)}: no such record; train it with: snakemake {record.record_path(run)}"
        )
    facts, body = formula.chain_of(run, root, metric, None if epoch is None else float(epoch))
    if body is not None:
        facts["metric"] = metric if epoch is None else f"{metric} after epoch {epoch}"
        facts["value"] = facts["value"] if isinstance(facts["value"], int | float) else None
        known = {**body["metrics"], **body["curves"], **metrics.DERIVED}
        diverged = body["status"] == "diverged" and metric in known
        if facts["value"] is None and not diverged:  # of one that diverged there is a chain to show, without a value
            names = [name for name, value in metrics.of_record(body).items() if isinstance(value, int | float)]
            raise ConfigError(f"{facts['record']}: no {facts['metric']}; metrics: {', '.join(names)}; "
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
    """What is wrong with an unaltered record that is at the place of another run."""
    if body["run"] == run:
        return ""
    return (
        f"it is the record of {body['run']}, moved here; restore {record.record_path(run).as_posix()} or train it again"
    )


def _split(split: SplitName, root: Path) -> dict[str, Any]:
    """The runs of a setting and seed that have a record: each states the split that it read."""
    folder = Path("results", str(split)).parent
    paths = sorted((root / folder).glob(f"*/seed{split.seed}.json"))
    runs = [path.relative_to(root / "results").with_suffix("").as_posix() for path in paths]
    file = f"data/splits/{split}.npz"
    if not runs:
        _check_in_grid(split, root)
        raise ConfigError(f"{file}: no record in {folder} was made from it; draw it with: reweigh split {split}")
    chains = [formula.chain_of(run, root)[0] for run in runs]
    digests = {chain["split"]["digest"] for chain in chains if "digest" in chain}
    bad_records = [chain["state"] for chain in chains if "digest" not in chain]
    several = f"its records name {len(digests)} different splits; audit them: reweigh audit --scale {split.scale}"
    fault = several if len(digests) > 1 else bad_records[0] if bad_records else ""
    return {"kind": "split", **_file(file, root), "fault": fault, "runs": chains}


def _check_in_grid(name: RunName | SplitName, root: Path) -> None:
    """Raise ConfigError, with the nearest name, for a run or a split that the config does not have."""
    config = load(root)
    config.run_name(config.run_with_split(str(name)))
    config.check_seed(name)


def _raw(dataset: str, name: str, root: Path) -> dict[str, Any]:
    """A raw file: its address and digests by the manifest, and the runs that name it."""
    catalogue = Manifest.load(root / "data/manifest.yaml")
    try:
        editions = catalogue[dataset].editions
    except DataError as error:
        raise ConfigError(str(error)) from None
    entries: dict[str, dict[str, Any]] = {}
    for edition in editions:
        for file in edition.files:
            entries.setdefault(file.name, formula.stated(dataset, edition, file))
    if name not in entries:
        raise ConfigError(f"data/raw/{dataset} has no {name!r} by data/manifest.yaml; known: {', '.join(entries)}")
    shown, entry = _file(f"data/raw/{dataset}/{name}", root), entries[name]
    actual, stated = shown["sha256"], entry["sha256"]
    fault = ""
    if actual and stated not in (None, actual):
        difference = f"sha256 {str(actual)[:12]}, the manifest says {str(stated)[:12]}"
        fault = f"{difference}; move it away and get it again: reweigh fetch {dataset}"
    return {
        "kind": "raw",
        **shown,
        "fault": fault,
        "dataset": dataset,
        "what": entry["what"],
        "stated_sha256": stated,
        "bytes": entry["bytes"],
        "url": entry["url"],
        "used_by": _users(stated, root),
    }


def _users(sha256: str | None, root: Path) -> list[str]:
    """The runs whose records name a raw file's sha256; they are searched and not parsed, as there may be thousands."""
    if sha256 is None:
        return []
    wanted = f'"sha256":"{sha256}"'.encode()
    runs = []
    for scale in sorted(SCALES):
        runs += [run for run, path in record.files_of(scale, root).items() if wanted in path.read_bytes()]
    return join_runs(filter(_is_name, runs)).split()


def _is_name(run: str) -> bool:
    """Whether it is the name of a run, and not that of another file among the records."""
    try:
        RunName.parse(run)
    except NotAName:
        return False
    return True


def _file(shown: str, root: Path) -> dict[str, Any]:
    path = root / shown
    return {"file": shown, "sha256": file_digest(path) if path.is_file() else None}
