"""Records that are copies: two different trainings never learn the same, so of two equal results one is a copy.

Results are compared by the curve of the training loss, in full precision, and by what a method logged. Two runs may
rightly agree if they are the same training under two names: an experiment that stands in two parts of a paper, or
methods that share their first stage and train no second one.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from reweigh.config.names import RunName
from reweigh.digest import canonical

Body = dict[str, Any]
ONLY_LOGGING = ("log_weights", "keep_features")  # options that decide what is logged and do not change the training


def duplicate_results(records: dict[str, Body]) -> dict[str, str]:
    """The runs, of one scale, whose results are those of another training; each with what is wrong."""
    results = {run: list(_results(run, body)) for run, body in records.items()}
    return duplicates(records, results, "its results are those of")


def duplicates(records: dict[str, Body], fingerprints: Mapping[str, Sequence[Hashable]], fault: str) -> dict[str, str]:
    """The runs that share a fingerprint with a run of another training; each with what is wrong (`fault` OTHER RUN).

    `fingerprints` are values, for each run, that no two trainings have in common.
    """
    runs_with: dict[Hashable, list[str]] = {}
    for run, values in fingerprints.items():
        for value in values:
            runs_with.setdefault(value, []).append(run)
    faults: dict[str, str] = {}
    for runs in runs_with.values():
        for run in runs if len(runs) > 1 else ():
            others = (other for other in runs if other != run and not _same_training(records[run], records[other]))
            if other := next(others, None):
                faults.setdefault(run, f"{fault} {other}, bit for bit: one of the two is a copy")
    return faults


def _results(run: str, body: Body) -> Iterator[Hashable]:
    """The parts of a record that can only be equal if they come from the same training."""
    losses = body["curves"].get("train_loss")
    if not body["steps"] or body["status"] != "finished" or not losses:
        return
    if len(set(losses)) > 1:
        yield "losses", *losses
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    # Short curves may agree by chance, so here everything is compared, and only within a cell.
    yield RunName.parse(run).cell, canonical([curves, body["metrics"]])


def _same_training(first: Body, second: Body) -> bool:
    """Whether two records may be of the same training under two names."""
    if first["spec"]["seed"] != second["spec"]["seed"]:
        return False
    shared = _only_stage_one(first)
    return _determinants(first) == _determinants(second) or (shared is not None and shared == _only_stage_one(second))


def _determinants(body: Body) -> Body:
    """What determines a training: its examples, and its spec without names and without options of logging."""
    spec = {key: value for key, value in body["spec"].items() if key not in RunName._fields}
    for part in ("training", "method_options"):
        options = spec[part].items()
        spec[part] = {key: value for key, value in options if key not in ONLY_LOGGING and value is not None}
    return {**spec, "examples": body["split"]["digest"]}


def _only_stage_one(body: Body) -> str | None:
    """The key of stage one for a run that trained no second stage; None for any other run."""
    shared = body.get("stage_one")
    return shared["key"] if shared and not sum(stage["epochs"] for stage in body["stages"][1:]) else None
