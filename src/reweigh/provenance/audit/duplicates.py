"""Records that are copies: two different trainings never learn the same, so of two equal results one is a copy.

Results are compared by the curve of the training loss, in full precision, and by what a method logged. Two runs may
rightly agree if they are the same training under two names: an experiment that stands in two parts of a paper, methods
that differ in what they measure or predict and not in what they train, a control that is another method by
construction (`same_as` on its card), or methods that share their first stages and train no more after them. What a
record says of its prefix is not believed where the specs contradict it.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from reweigh.config.cards import methods
from reweigh.config.names import RunName
from reweigh.digest import canonical

Body = dict[str, Any]
# Options that decide what is measured or logged and do not change the training.
ONLY_LOGGING = ("log_weights", "keep_features", "keep_margins", "also_measure", "evaluate_on", "threshold")
BLENDS = ("objective", "upper")  # options that weigh parts: one of weight 0 is not there
WEIGHTS_BY = "weights_by"  # a key of a split that decides nothing of plain training
MEASURED_PART = "official_validation"  # an option of a data set: which official part stands in place of the test set
MEASURED_IMAGES = ("test", "test_size", "test_seed")  # keys of a split: which images of that part


def duplicate_results(records: dict[str, Body]) -> dict[str, str]:
    """The runs, of one scale, whose results are those of another training; each with what is wrong."""
    results = {run: list(_results(run, body)) for run, body in records.items()}
    return duplicates(records, results, "its results are those of")


def duplicates(
    records: dict[str, Body],
    fingerprints: Mapping[str, Sequence[Hashable]],
    fault: str,
    of_prefix: bool = False,
) -> dict[str, str]:
    """The runs that share a fingerprint with a run of another training; each with what is wrong (`fault` OTHER RUN).

    `fingerprints` are values, for each run, that no two trainings have in common; with `of_prefix` two runs may have
    them from the first stages that they share, whatever they trained after these.
    """
    runs_with: dict[Hashable, list[str]] = {}
    for run, values in fingerprints.items():
        for value in values:
            runs_with.setdefault(value, []).append(run)
    faults: dict[str, str] = {}
    for runs in runs_with.values():
        for run in runs if len(runs) > 1 else ():
            rightly = (_same_training(records[run], records[other], records, of_prefix) for other in runs)
            pairs = zip(runs, rightly, strict=True)
            if other := next((other for other, same in pairs if not same and other != run), None):
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


def _same_training(first: Body, second: Body, records: Mapping[str, Body], of_prefix: bool) -> bool:
    """Whether two records may be of the same training under two names."""
    if first["spec"]["seed"] != second["spec"]["seed"]:
        return False
    one, two = _determinants(first), _determinants(second)
    if one == two:
        return True
    if _measured(first) != _measured(second):
        return _of_training_part(one, first) == _of_training_part(two, second)
    shared = _prefix_of(first, records, of_prefix)
    return (
        shared is not None and shared == _prefix_of(second, records, of_prefix) and _same_but_for_methods(first, second)
    )


def _same_but_for_methods(first: Body, second: Body) -> bool:
    """Whether two runs trained on the same examples, with all but their methods the same."""
    own = ("uses", "method_options")
    one, other = (
        {key: value for key, value in _determinants(body).items() if key not in own} for body in (first, second)
    )
    return one == other


def _determinants(body: Body) -> Body:
    """What determines a training: its examples, its stages, and its spec without names and without what is measured.

    A class threshold changes predictions alone, but for a method that trains another stage to choose it. A split with
    another test set trains on the same examples: it is known by its sizes, as its digest is another. So is that of
    plain training, whose split says what weights are by.
    """
    spec = {key: value for key, value in body["spec"].items() if key not in RunName._fields}
    card = methods().get(spec["uses"])  # none of a method that is gone
    if card and (twin := card.same_as(spec["method_options"], body["split"]["sizes"]["train"])):
        spec["uses"], spec["method_options"] = twin
    for part in ("training", "method_options"):
        options = spec[part].items()
        spec[part] = {
            key: _blend(value) if key in BLENDS else value
            for key, value in options
            if key not in ONLY_LOGGING and value is not None
        }
    stages = [stage.get("epochs") for stage in body.get("stages") or []]
    examples = body["split"]["digest"]
    if card and card.plain and WEIGHTS_BY in spec["data"]["split"]:  # equal weights, whatever they are by
        split = {key: value for key, value in spec["data"]["split"].items() if key != WEIGHTS_BY}
        spec["data"], examples = {**spec["data"], "split": split}, body["split"]["sizes"]
    return {**spec, "stages": stages, "examples": examples}


def _blend(value: Any) -> Any:
    return {name: weight for name, weight in value.items() if weight} if isinstance(value, dict) else value


def _of_training_part(determinants: Body, body: Body) -> Body:
    """The same with no word of what is measured."""
    data = dict(determinants["data"])
    options = {key: value for key, value in (data.get("options") or {}).items() if key != MEASURED_PART}
    split = {key: value for key, value in data["split"].items() if key not in MEASURED_IMAGES}
    sizes = {part: counts for part, counts in body["split"]["sizes"].items() if part != "test"}
    return {**determinants, "data": {**data, "options": options, "split": split}, "examples": sizes}


def _measured(body: Body) -> list[Any]:
    """Which official part a run measures, and which of its images."""
    data = body["spec"]["data"]
    return [bool((data.get("options") or {}).get(MEASURED_PART)), *(data["split"].get(key) for key in MEASURED_IMAGES)]


def _prefix_of(body: Body, records: Mapping[str, Body], of_prefix: bool) -> str | None:
    """The key of the first stages of a run that shares them and trained nothing after them; None for any other run.

    With `of_prefix`, whatever it trained after them. A run that is another one under a second name has those of that.
    """
    shared = body.get("prefix")
    if shared and shared["reused"] and shared["stages"] == shared["of"]:
        other = records.get(shared["run"], body)
        same = other is not body and _determinants(other) == _determinants(body)
        return _prefix_of(other, {}, of_prefix) if same else None
    if shared:
        after = body["stages"][shared["stages"] :]
    elif shared := body.get("stage_one"):  # until version 2
        after = body["stages"][1:]
    else:
        return None
    return str(shared["key"]) if of_prefix or not sum(stage["epochs"] for stage in after) else None
