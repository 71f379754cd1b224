"""Records that look at each other: no two trainings that differ learn the same, so one of two that are equal is a copy.

What was learned is the curve of the training loss, in full precision, and what a method logged. Two runs may agree in
them honestly where they are one training under two names: the same experiment in two parts of a paper, or methods that
share a first stage and train no second.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from reweigh.digest import canonical

Body = dict[str, Any]
NAMES = ("scale", "paper", "experiment", "setting", "method", "seed")
ONLY_WATCHES = ("log_weights", "keep_features")  # what is kept of a training, which it does not change


def copies(records: dict[str, Body]) -> dict[str, str]:
    """Runs, of one scale, whose results are those of another training, each with what is wrong."""
    results = {run: list(_results(run, body)) for run, body in records.items()}
    return copied(records, results, "its results are those of")


def copied(records: dict[str, Body], learned: Mapping[str, Sequence[Hashable]], what: str) -> dict[str, str]:
    """Runs that share one of the things that each `learned` with a run of another training, and what is wrong."""
    groups: dict[Hashable, list[str]] = {}
    for run, things in learned.items():
        for thing in things:
            groups.setdefault(thing, []).append(run)
    found: dict[str, str] = {}
    for runs in groups.values():
        for run in runs if len(runs) > 1 else ():
            other = next((one for one in runs if one != run and not _one_training(records[run], records[one])), None)
            if other:
                found.setdefault(run, f"{what} {other}, bit for bit: one of the two is a copy")
    return found


def _results(run: str, body: Body) -> Iterator[Hashable]:
    """What of a record can only be equal if it was learned by one training."""
    losses = body["curves"].get("train_loss")
    if not body["steps"] or body["status"] != "finished" or not losses:
        return
    if len(set(losses)) > 1:
        yield "losses", *losses
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    yield run.rpartition("/")[0], canonical([curves, body["metrics"]])  # of few epochs: all, and within a cell


def _one_training(one: Body, other: Body) -> bool:
    """Whether two records may state one training under two names."""
    if one["spec"]["seed"] != other["spec"]["seed"]:
        return False
    shared = _only_stage_one(one)
    return _trained(one) == _trained(other) or (shared is not None and shared == _only_stage_one(other))


def _trained(body: Body) -> Body:
    """What decides a training: the spec without names, and without what only watches it; the examples."""
    spec = {key: value for key, value in body["spec"].items() if key not in NAMES}
    for part in ("training", "method_options"):
        said = spec[part].items()
        spec[part] = {key: value for key, value in said if key not in ONLY_WATCHES and value is not None}
    return {**spec, "examples": body["split"]["digest"]}


def _only_stage_one(body: Body) -> str | None:
    """The first stage of a run that trained no second; None for any other run."""
    shared = body.get("stage_one")
    return shared["key"] if shared and not sum(stage["epochs"] for stage in body["stages"][1:]) else None
