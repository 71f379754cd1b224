"""Whether a record agrees with itself: what it states twice must match, even if its digest was computed again.

    contradictions(body)     # one line each; [] for a sound record of version 1 or 2

Everything is recomputed from the confusion matrix, the split's sizes and the spec, in plain Python and without the code
that wrote the record (the definitions are those of `reweigh.evaluate` and `reweigh.data.batches`).

What a record states only once can be altered unnoticed here: training losses, effective weights, seconds between the
first and the last epoch, an accuracy before the last epoch (if it stays a share of whole examples), sizes of parts that
were not measured, a span longer than its training, bytes, parameters and versions. Losses and weights are only checked
for their sign.
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from reweigh.config.cards import card_of, loss_card_of
from reweigh.config.methods.base import loss_name
from reweigh.config.names import RunName
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.records import record

Body = dict[str, Any]
NEWER = {"energy_joules", "group_sizes", "resumed", "stages"}  # keys that version 2 added
EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)  # no version of torch that can train these methods is older
CLOCK_SKEW = timedelta(days=1)  # allowed between the machine that trained and this one
CLOCK_RATE = 0.02  # the share by which two clocks of one machine may differ over a run
MOST_WATTS = 3000.0  # more than any card draws
SHARE_TOLERANCE = 1e-9  # for shares that are computed in another order
COUNT_TOLERANCE = 1e-5  # for counts that are computed from shares


def contradictions(body: Body) -> list[str]:
    """Where a record contradicts itself, one line each. A missing or malformed key has a line too."""
    lines: list[str] = []
    for check in CHECKS:
        try:
            lines += check(body)
        except (ConfigError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            lines.append(f"{check.__name__.strip('_')} cannot be checked: {type(error).__name__} {error}")
    return lines


# --- names and digests -----------------------------------------------------------------------------------------------


def _names(body: Body) -> Iterator[str]:
    spec, run = body["spec"], body["run"]
    if body["record_version"] not in record.READABLE:
        yield f"record_version is {body['record_version']}"
    if body["record_version"] == 1 and (newer := NEWER & body.keys()):
        yield f"record_version is 1, which does not have {', '.join(sorted(newer))}"
    if run != str(RunName.of_spec(spec)):
        yield f"run is {run}, but its spec is that of {RunName.of_spec(spec)}"
    if body["spec_digest"] != digest(spec):
        yield "spec_digest is not the digest of the spec"
    if body["code"]["digest"] != digest(body["code"]["files"]):
        yield "code.digest is not the digest of code.files"
    reader = f"data/{spec['data']['dataset'].replace('-', '_')}.py"
    for name in ("training/engine.py", f"methods/{spec['uses']}.py", f"models/{spec['model']['name']}.py", reader):
        if name not in body["code"]["files"]:
            yield f"code.files lacks {name}, which its spec names"
    if body["split"]["path"] != f"data/splits/{RunName.of_spec(spec).split}.npz":
        yield f"split.path is {body['split']['path']}, which is not that of its spec"
    if spec["data"]["dataset"] not in {file["dataset"] for file in body["raw"]}:
        yield f"raw names no file of {spec['data']['dataset']}, the data set of its spec"
    for key in ("threads", "precision"):
        if body["device"][key] != spec["training"][key]:
            yield f"device.{key} is {body['device'][key]}, but its spec says {spec['training'][key]}"
    if body["trace"] is not None and body["trace"]["file"] != f"seed{spec['seed']}.npz":
        yield f"trace.file is {body['trace']['file']}, but its seed is {spec['seed']}"


# --- times and costs -------------------------------------------------------------------------------------------------


def _times(body: Body) -> Iterator[str]:
    started, ended = _time(body["started"]), _time(body["ended"])
    if ended < started:
        yield f"ended {body['ended']}, before it started at {body['started']}"
    if started < EARLIEST:
        yield f"started {body['started']}, before any version of torch that could train it"
    if ended > datetime.now(UTC) + CLOCK_SKEW:
        yield f"ended {body['ended']}, which is in the future"
    on_gpu = body["device"]["kind"] == "cuda"
    span = (ended - started).total_seconds() + 1  # both are cut to whole seconds
    here, cores = body["seconds"] - _taken_over(body), 1 if on_gpu else body["device"]["threads"]
    # In version 1, `started` of a run that was stopped and continued is when its last part started.
    if body["record_version"] > 1 and here > span * cores * (1 + CLOCK_RATE):
        yield f"{here:.1f} s of training do not fit between started and ended, {span - 1:.0f} s apart"
    joules = body.get("energy_joules")
    if joules is not None and not on_gpu:
        yield f"energy_joules is {joules} on a CPU, which has no counter"
    if joules is not None and not 0 <= joules <= (span + _taken_over(body)) * MOST_WATTS:
        yield f"energy_joules is {joules}, more than a card can draw in {span - 1:.0f} s"


def _taken_over(body: Body) -> float:
    """An upper bound of the seconds of training taken over from another run: up to the first epoch after stage one."""
    stage_one, epochs = body.get("stage_one"), body["spec"]["training"]["epochs"]
    if not stage_one or not stage_one["reused"]:
        return 0.0
    seconds = zip(body["curves"]["epoch"], body["curves"]["train_seconds"], strict=True)
    return float(next((value for epoch, value in seconds if epoch >= epochs), body["seconds"]))


def _costs(body: Body) -> Iterator[str]:
    on_gpu = body["device"]["kind"] == "cuda"
    expected = body["seconds"] if on_gpu else 0
    if body["gpu_seconds"] != expected:
        yield f"gpu_seconds is {body['gpu_seconds']} on a {body['device']['kind']} after {body['seconds']} seconds"
    if body["device"].get("graph") is not None and not on_gpu:
        yield "device.graph reports CUDA graphs on a CPU"
    for key, minimum in (("seconds", 0), ("peak_bytes", 1), ("parameters", 1), ("steps", 0)):
        if not body[key] >= minimum:
            yield f"{key} is {body[key]}"
    for key in ("cuda", "cudnn", "driver") if not on_gpu else ():
        if body["environment"].get(key) is not None:
            yield f"environment.{key} is {body['environment'][key]} on a CPU"
    curve = body["curves"]["train_seconds"]
    if any(later < earlier for earlier, later in zip([0, *curve], curve, strict=False)):
        yield "curves.train_seconds decreases"
    if curve and (curve[-1] != body["seconds"] if _ends_with_an_epoch(body) else curve[-1] > body["seconds"]):
        yield f"seconds is {body['seconds']}, but curves.train_seconds ends with {curve[-1]}"
    if body["seconds"] and not _stages(body):
        yield f"seconds is {body['seconds']}, but there was no stage to train"


# --- data ------------------------------------------------------------------------------------------------------------


def _sizes(body: Body) -> Iterator[str]:
    recipe, sizes, classes = body["spec"]["data"]["split"], body["split"]["sizes"], len(body["metrics"]["confusion"])
    for part, counts in sizes.items():
        if len(counts) != classes:
            yield f"split.sizes.{part} has {len(counts)} classes, the confusion matrix {classes}"
    total = {part: sum(counts) for part, counts in sizes.items()}
    expected = {"target": recipe["target_size"], "test": recipe.get("test_size")}
    if recipe.get("validation_share") is None:
        expected["validation"] = recipe.get("validation_size", 0)
    for part, size in expected.items():
        if size is not None and total[part] != size:
            yield f"split.sizes.{part} sums to {total[part]}, but its spec asks for {size}"
    if recipe["kind"] == "two-class":
        drawn = total["train"] + (total["validation"] if recipe.get("validation_share") else 0)
        if not recipe["total"] - 2 <= drawn <= recipe["total"]:
            yield f"split.sizes.train sums to {drawn}, but its spec asks for {recipe['total']}"
    if recipe.get("test") == "balanced" and len(set(sizes["test"])) > 1:
        yield "split.sizes.test has classes of several sizes, but its spec asks for a balanced test set"
    groups = body.get("group_sizes")
    if body["record_version"] > 1 and (groups is None) != (recipe["kind"] != "groups"):
        yield f"group_sizes does not go with a split of kind {recipe['kind']}"
    for part, counts in (groups or {}).items():
        if sum(counts) != total[part]:
            yield f"group_sizes.{part} sums to {sum(counts)}, but split.sizes.{part} to {total[part]}"


# --- metrics ---------------------------------------------------------------------------------------------------------


def _metrics(body: Body) -> Iterator[str]:
    metrics, measured = body["metrics"], _measured(body)
    table, kind = metrics["confusion"], body["spec"]["data"]["split"]["kind"]
    rows, right = [sum(row) for row in table], [row[label] for label, row in enumerate(table)]
    if any(len(row) != len(table) for row in table) or not all(
        type(count) is int and count >= 0 for row in table for count in row
    ):
        yield "metrics.confusion is not a square matrix of counts"
    if rows != body["split"]["sizes"][measured]:
        yield f"the rows of metrics.confusion do not sum to split.sizes.{measured}"
    recalls = [_share(hits, size) for hits, size in zip(right, rows, strict=True)]
    defined = [recall for recall in recalls if recall is not None]
    two_class = kind == "two-class"
    expected = {
        f"{measured}_size": sum(rows),
        f"{measured}_accuracy": _share(sum(right), sum(rows)),
        "balanced_accuracy": math.fsum(defined) / len(defined) if defined else None,
        "minority_recall": recalls[0] if two_class else None,
        "minority_precision": _share(right[0], sum(row[0] for row in table)) if two_class else None,
    }
    for key, value in expected.items():
        if not _same(metrics[key], value):
            yield f"metrics.{key} is {metrics[key]}, but its confusion matrix gives {value}"
    if len(recalls) != len(metrics["per_class_accuracy"]):
        yield "metrics.per_class_accuracy does not have one entry for each class"
    for label, (stated, value) in enumerate(zip(metrics["per_class_accuracy"], recalls, strict=False)):
        if not _same(stated, value):
            yield f"metrics.per_class_accuracy of class {label} is {stated}, but its confusion matrix gives {value}"
    yield from _groups(body, sum(right), sum(rows))


def _groups(body: Body, right: int, size: int) -> Iterator[str]:
    """Accuracies of groups must be shares of whole numbers of examples, and add up to all right answers."""
    shares, grouped = body["metrics"]["per_group_accuracy"], body["spec"]["data"]["split"]["kind"] == "groups"
    if (shares is not None) != grouped:
        yield f"metrics.per_group_accuracy is {shares}, which does not go with the kind of its split"
    if not grouped or shares is None:
        return
    counts = (body.get("group_sizes") or {}).get(_measured(body)) or _two_groups(shares, right, size)
    if counts is None:
        return
    answers = [(share or 0) * count for share, count in zip(shares, counts, strict=True)]
    if sum(counts) != size or not all(map(_is_whole, answers)) or round(math.fsum(answers)) != right:
        yield "metrics.per_group_accuracy does not give the right answers that its confusion matrix counts"


def _two_groups(shares: list[float], right: int, size: int) -> list[int] | None:
    """The sizes of two groups, from their accuracies and that of all; None if these do not determine them."""
    if len(shares) != 2 or None in shares or shares[0] == shares[1]:
        return None
    first = (right - size * shares[1]) / (shares[0] - shares[1])
    return [round(first), size - round(first)] if _is_whole(first) and 0 < first < size else [0, 0]


# --- curves and steps ------------------------------------------------------------------------------------------------


def _curves(body: Body) -> Iterator[str]:
    curves, metrics, measured = body["curves"], body["metrics"], _measured(body)
    if len({len(values) for values in curves.values()}) != 1:
        yield "curves differ in length"
        return
    accuracy = curves[f"{measured}_accuracy"]
    best = max([*accuracy], default=metrics[f"{measured}_accuracy"])
    if metrics[f"best_epoch_{measured}_accuracy"] != best:
        yield f"metrics.best_epoch_{measured}_accuracy is not {best}, the highest of its curve"
    for key in (f"{measured}_accuracy", "minority_recall", "minority_precision"):
        if accuracy and _ends_with_an_epoch(body) and curves[key][-1] != metrics[key]:
            yield f"curves.{key} ends with {curves[key][-1]}, but metrics says {metrics[key]}"
    sizes = body["split"]["sizes"][measured]
    two_class = body["spec"]["data"]["split"]["kind"] == "two-class"
    columns = (curves[key] for key in ("epoch", f"{measured}_accuracy", "minority_recall", "minority_precision"))
    for epoch, share, recall, precision in zip(*columns, strict=True):
        right, hits = share * sum(sizes), (recall or 0) * sizes[0]
        false_hits = sizes[-1] - (right - hits)  # examples of the majority that were predicted as the minority
        if not (_is_whole(right) and 0 <= share <= 1 and _is_whole(hits) and 0 <= hits <= sizes[0]):
            yield f"after epoch {epoch}: not a share of {sum(sizes)} examples"
        elif two_class != (recall is not None) or (precision is not None and not two_class):
            yield f"after epoch {epoch}: minority_recall and minority_precision are for two classes only"
        elif two_class and not (
            0 <= round(false_hits) <= sizes[-1]
            and _same(precision, _share(round(hits), round(hits + false_hits)), COUNT_TOLERANCE)
        ):
            yield f"after epoch {epoch}: minority_precision does not follow from accuracy and minority_recall"
    yield from _means(body)


def _means(body: Body) -> Iterator[str]:
    """Means over an epoch: finite if the run finished, and not negative if no averaged value can be."""
    spec, curves = body["spec"], body["curves"]
    if body["status"] == "finished" and None in curves["train_loss"]:
        yield "curves.train_loss was not finite, but the status is finished"
    signed = {
        "train_loss": loss_card_of(loss_name(spec["method_options"])).signed,
        "effective_weight": card_of(spec["uses"]).signed_weights,
    }
    for key, may_be in signed.items():
        values = [value for value in curves[key] if value is not None]
        if not all(map(math.isfinite, values)):
            yield f"curves.{key} has values that are not finite"
        elif not may_be and min(values, default=0) < 0:
            yield f"curves.{key} is {min(values)}, which no {key.replace('_', ' ')} of {spec['uses']} can be"


def _steps(body: Body) -> Iterator[str]:
    training, stages, steps = body["spec"]["training"], _stages(body), body["steps"]
    sizes = body["split"]["sizes"]["train"]
    for stage in stages:
        expected = _steps_per_epoch(stage["sampling"], stage["batch_size"], training["drop_last"], sizes)
        if stage["steps_per_epoch"] != expected:
            yield f"stage {stage['name']} has {stage['steps_per_epoch']} steps an epoch, but its data give {expected}"
    total = sum(stage["epochs"] * stage["steps_per_epoch"] for stage in stages)
    if body["status"] == "finished" and steps != total:
        yield f"steps is {steps}, but its stages and data give {total}"
    done, first, after = _last_epoch(stages, steps)
    if after != steps:
        yield f"steps is {steps}, which is not the end of an epoch"
    epochs, every = body["curves"]["epoch"], training["evaluate_every"]
    # The length is compared first: `done` may be forged, and a list of that many epochs may not fit into memory.
    if len(epochs) != -(-done // every) or epochs != [min(every * (place + 1), done) for place in range(len(epochs))]:
        yield f"curves.epoch is not every {every} epochs, and the last, of {done}"
    yield from _divergence(body, first)


def _last_epoch(stages: list[dict[str, Any]], steps: int) -> tuple[int, int, int]:
    """How many epochs are complete after so many steps; the first step of the last of them, and the step after it."""
    done, first, after = 0, 0, 0
    for stage in stages:
        length = stage["steps_per_epoch"]
        over = min(stage["epochs"], (steps - after) // length)
        if over > 0:
            done, after = done + over, after + over * length
            first = after - length
    return done, first, after


def _divergence(body: Body, first: int) -> Iterator[str]:
    """A run stops at the end of the epoch in which it diverged, whose first step is `first`."""
    status, step = body["status"], body["diverged_at_step"]
    if status not in ("finished", "diverged"):
        yield f"status is {status}"
    if (status == "diverged") != (step is not None):
        yield f"status is {status}, but diverged_at_step is {step}"
    elif step is not None and not first <= step < body["steps"]:
        yield f"diverged_at_step is {step}, but the last epoch was steps {first} to {body['steps'] - 1}"


CHECKS: tuple[Callable[[Body], Iterator[str]], ...] = (_names, _times, _costs, _sizes, _metrics, _curves, _steps)


# --- small parts -----------------------------------------------------------------------------------------------------


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _measured(body: Body) -> str:
    return str(body["spec"]["training"].get("evaluate_on") or "test")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _same(first: float | None, second: float | None, tolerance: float = SHARE_TOLERANCE) -> bool:
    return first is second or (first is not None and second is not None and abs(first - second) <= tolerance)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) <= COUNT_TOLERANCE


def _stages(body: Body) -> list[dict[str, Any]]:
    """The stages of a run: those that its record states, or for version 1 those that its method's options imply."""
    if body["record_version"] > 1:
        return list(body["stages"])
    spec, training = body["spec"], body["spec"]["training"]
    sizes, stages = body["split"]["sizes"]["train"], []
    for number, stage in enumerate(card_of(spec["uses"]).stages(spec["method_options"], training["epochs"])):
        size = stage.batch_size or training["batch_size"]
        per_epoch = _steps_per_epoch(stage.sampling, size, training["drop_last"], sizes)
        stages.append({"name": str(number), **stage._asdict(), "batch_size": size, "steps_per_epoch": per_epoch})
    return stages


def _steps_per_epoch(sampling: str, batch_size: int, drop_last: bool, sizes: list[int]) -> int:
    """Batches of one epoch. Class-aware sampling draws as many examples of each class as the largest class has."""
    drawn = max(sizes) * sum(size > 0 for size in sizes) if sampling == "class-aware" else sum(sizes)
    size = min(batch_size, drawn)
    return drawn // size if drop_last else -(-drawn // size)


def _ends_with_an_epoch(body: Body) -> bool:
    """Whether the metrics measure the last epoch on the curves; a last stage without epochs would come after it."""
    stages = _stages(body)
    return bool(stages) and (body["status"] == "diverged" or stages[-1]["epochs"] > 0)
