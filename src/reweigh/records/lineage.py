"""The chain of one run: record, spec, code, split, raw files with addresses.

    facts(body)             # from the record alone; always the same, whatever happens to the code
    of_run(run, root)       # the record of a run: its facts, its state, and what has changed since

`explain`, the scorecard's page and the crate use it. It imports no library but the standard one.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh import metrics
from reweigh.errors import RecordError
from reweigh.records import attestations, record

INTACT = "intact: its content has the digest that it states"
# Editions of data on which the numbers of a paper cannot be measured again, though its claims may be tested.
STAND_INS = {
    "efficientnet-lite0": "EfficientNet-Lite0, 1280-d (not the paper's ResNet-18)",
    "efficientnet-lite0-256": "EfficientNet-Lite0, 256 principal components (not the paper's ResNet-18)",
}
EDITIONS = {
    "official": "the official files",
    "reconstruction": "a reconstruction, not the official files",
    "slice": "an exact slice of the official files",
    **{name: f"a stand-in: {text}" for name, text in STAND_INS.items()},
}
COSTS = ("energy_joules", "gpu_seconds", "peak_bytes")  # of a run, if its record has them


def of_data(editions: Iterable[str], dataset: str | None) -> list[str]:
    """What a reader must know of the data of some runs, by their editions: nothing of the official files.

    >>> of_data(["official", "slice"], "cifar10")
    ['data: slice of cifar10']
    """
    others = sorted(set(editions) - {"official"})
    return [f"data: {EDITIONS[name] if name in STAND_INS else f'{name} of {dataset}'}" for name in others]


def facts(body: dict[str, Any], metric: str | None = None, epoch: float | None = None) -> dict[str, Any]:
    """The facts of a run from its record, as plain nested values. Nothing here depends on today's code or files.

    `value` is the run's `metric` after its last epoch, or after `epoch`; None without a metric, or if the run has no
    such value. Accuracies are fractions, times UTC, `seconds` wall clock.
    """
    return {
        "run": body["run"],
        "record": record.record_path(body["run"]).as_posix(),
        "digest": body["digest"],
        "value": None if metric is None else value_of(body, metric, epoch),
        "status": body["status"],
        "spec_digest": body["spec_digest"],
        "code": {"digest": body["code"]["digest"], "files": len(body["code"]["files"])},
        "git": body["git"],
        "environment": body["environment"],
        "device": body["device"],
        "seconds": body["seconds"],
        **{name: body[name] for name in COSTS if body.get(name) is not None},
        **{name: body[name] for name in ("prefix", "begun_by") if body.get(name)},
        "started": body["started"],
        "ended": body["ended"],
        "split": {**body["split"], "seed": body["spec"]["seed"], "recipe": body["spec"]["data"]["split"]},
        "raw": [{**file, "what": EDITIONS.get(file["edition"], file["edition"])} for file in body["raw"]],
    }


def of_run(
    run: str, root: str | Path = ".", metric: str | None = None, epoch: float | None = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The chain of a run, and its record. Without a readable record the chain has only `state`, which says why.

    Adds to `facts` the `state`, and in `code` the files `changed_since` and what is `attested` of that change (or "").
    """
    try:
        body = record.read(record.record_path(run, root))
    except RecordError as error:
        return {"run": run, "record": record.record_path(run).as_posix(), "state": str(error)}, None
    chain = facts(body, metric, epoch)
    chain["state"] = INTACT
    chain["code"] |= {"changed_since": changed(body), "attested": attested(body, root)}
    return chain, body


def begun(run: dict[str, Any]) -> list[str]:
    """What other runs began of a run, in words, by its record or its facts: `12 steps taken by RUN`."""
    return [f"{part['steps']} steps taken by {part['run']}" for part in run.get("begun_by", [])]


def value_of(body: dict[str, Any], metric: str, epoch: float | None = None) -> float | None:
    """A run's metric after its last epoch, stated or derived, or from its curve after `epoch`; None if not defined.

    What only curves have, such as the loss, is taken from their end. A run that diverged has none at its end, whatever
    an old record states.
    """
    curves = body["curves"]
    if epoch is None:
        if body["status"] != "finished":
            return None
        if metric in metrics.DERIVED:
            return metrics.DERIVED[metric](body)
        known = body["metrics"]
        return known[metric] if metric in known else (curves.get(metric) or [None])[-1]
    if metric not in curves or int(epoch) not in curves["epoch"]:
        return None
    return curves[metric][curves["epoch"].index(int(epoch))]


def changed(body: dict[str, Any]) -> list[str]:
    """The source files that have changed since the run was made."""
    try:
        now = record.code_files(body["spec"])
    except ModuleNotFoundError as error:
        return [str(error)]
    then = body["code"]["files"]
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def attested(body: dict[str, Any], root: str | Path = ".") -> str:
    """What is attested of the edits of the run's code since it was made; empty if nothing is."""
    try:
        now = record.code_digest(body["spec"])
    except ModuleNotFoundError:
        return ""
    step = attestations.load(root).step(body["digest"], "code", body["code"]["digest"], now)
    return step.text if step else ""
