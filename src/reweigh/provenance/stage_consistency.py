"""Whether the curves and steps of a record agree with its stages; a part of `consistency`, and what both need."""

import bisect
import itertools
import math
from collections.abc import Iterator
from typing import Any

from reweigh.config.cards import card_of, loss_card_of
from reweigh.config.methods.base import loss_name

Body = dict[str, Any]
SHARE_TOLERANCE = 1e-9  # for shares that are computed in another order
COUNT_TOLERANCE = 1e-5  # for counts that are computed from shares


# --- curves and steps ------------------------------------------------------------------------------------------------


def curves_agree(body: Body) -> Iterator[str]:
    """Where curves differ from each other, from the stages, or their ends from the metrics; one line each."""
    curves, metrics, measured = body["curves"], body["metrics"], measured_part(body)
    if len({len(values) for values in curves.values()}) != 1:
        yield "curves differ in length"
        return
    accuracy = curves[f"{measured}_accuracy"]
    if body["record_version"] > 2:
        yield from _stages_of_curves(body)
    else:
        best = max([*accuracy], default=metrics[f"{measured}_accuracy"])
        if metrics[f"best_epoch_{measured}_accuracy"] != best:
            yield f"metrics.best_epoch_{measured}_accuracy is not {best}, the highest of its curve"
    ends = {key: key for key in (f"{measured}_accuracy", "minority_recall", "minority_precision")}
    if curves.get(balanced := f"{measured}_balanced_accuracy"):
        ends[balanced] = "balanced_accuracy"
    for key, metric in ends.items():
        if accuracy and ends_with_an_epoch(body) and curves[key][-1] != metrics[metric]:
            yield f"curves.{key} ends with {curves[key][-1]}, but metrics says {metrics[metric]}"
    sizes = body["split"]["sizes"][measured]
    two_class = body["spec"]["data"]["split"]["kind"] == "two-class"
    columns = (curves[key] for key in ("epoch", f"{measured}_accuracy", "minority_recall", "minority_precision"))
    for place, (epoch, share, recall, precision) in enumerate(zip(*columns, strict=True)):
        # A last stage without epochs may spoil what was measured before it.
        spoilt = has_no_metrics(body) and place == len(accuracy) - 1
        if spoilt and (share is None or body["stages"][-1]["epochs"]):
            if not share is recall is precision is None:
                yield f"after epoch {epoch}: it diverged there, but was measured"
            continue
        right, hits = share * sum(sizes), (recall or 0) * sizes[0]
        false_hits = sizes[-1] - (right - hits)  # examples of the majority that were predicted as the minority
        if not (is_whole(right) and 0 <= share <= 1 and is_whole(hits) and 0 <= hits <= sizes[0]):
            yield f"after epoch {epoch}: not a share of {sum(sizes)} examples"
        elif two_class != (recall is not None) or (precision is not None and not two_class):
            yield f"after epoch {epoch}: minority_recall and minority_precision are for two classes only"
        elif two_class and not (
            0 <= round(false_hits) <= sizes[-1]
            and same(precision, share_of(round(hits), round(hits + false_hits)), COUNT_TOLERANCE)
        ):
            yield f"after epoch {epoch}: minority_precision does not follow from accuracy and minority_recall"
    if has_no_metrics(body) and accuracy and accuracy[-1] is not None and body["steps"] < _total_steps(body):
        yield f"status is diverged, but its last epoch was measured: {accuracy[-1]}"
    yield from _means(body)


def _stages_of_curves(body: Body) -> Iterator[str]:
    """The stage of each epoch, and the best epoch of each stage."""
    curves, key = body["curves"], f"{measured_part(body)}_accuracy"
    ends = list(itertools.accumulate(stage["epochs"] for stage in body["stages"]))
    for place, (epoch, number) in enumerate(zip(curves["epoch"], curves["stage"], strict=True)):
        if number != bisect.bisect_left(ends, epoch):
            yield f"curves.stage[{place}] is {number}, but epoch {epoch} is one of another stage"
    best: float | None = None
    for number, stage in enumerate(body["stages"]):
        rows = zip(curves[key], curves["epoch"], curves["stage"], strict=True)
        measured = [(share, -epoch) for share, epoch, of in rows if of == number and share is not None]
        best, epoch = max(measured, default=(None, None))
        if (stage["best_epoch"], stage[f"best_epoch_{key}"]) != (None if epoch is None else -epoch, best):
            yield f"stage {stage['name']}: its best epoch is not the highest of its curve, {best}"
    stated, best = body["metrics"][f"best_epoch_{key}"], body["metrics"][key] if best is None else best
    if not has_no_metrics(body) and stated != best:
        yield f"metrics.best_epoch_{key} is not {best}, the highest of its last stage"


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


def steps_agree(body: Body) -> Iterator[str]:
    """Where steps and epochs differ from the stages, or these from the sizes of the data; one line each."""
    training, stages, steps = body["spec"]["training"], stages_of(body), body["steps"]
    for stage in stages:
        part = stage.get("part", "train")
        sizes = sizes_of(part, body["split"]["sizes"])
        expected = steps_per_epoch(stage["sampling"], stage["batch_size"], training["drop_last"], sizes)
        # How many members there are, only the method knows; never more than the part has that they are chosen from.
        listed = part.startswith("members")
        if stage["steps_per_epoch"] > expected or (not listed and stage["steps_per_epoch"] != expected):
            yield f"stage {stage['name']} has {stage['steps_per_epoch']} steps an epoch, but its data give {expected}"
    total = _total_steps(body)
    if body["status"] == "finished" and steps != total:
        yield f"steps is {steps}, but its stages and data give {total}"
    done, first, after = _last_epoch(stages, steps)
    if after != steps:
        yield f"steps is {steps}, which is not the end of an epoch"
    epochs, every = body["curves"]["epoch"], training["evaluate_every"]
    ends = {done}
    if body["record_version"] > 2:
        ends |= {end for end in itertools.accumulate(stage["epochs"] for stage in stages) if 0 < end < done}
    # The length is compared first: `done` may be forged, and a list of that many epochs may not fit into memory.
    between = sorted(end for end in ends if end % every)
    if len(epochs) != done // every + len(between) or epochs != sorted([*range(every, done + 1, every), *between]):
        yield f"curves.epoch is not every {every} epochs, and the last of each stage, of {done}"
    yield from _divergence(body, first)


def _total_steps(body: Body) -> int:
    return sum(stage["epochs"] * stage["steps_per_epoch"] for stage in stages_of(body))


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
    if body["record_version"] > 2 and (body["diverged_because"] is None) != (step is None):
        yield f"diverged_because is {body['diverged_because']}, but diverged_at_step is {step}"


# --- small parts -----------------------------------------------------------------------------------------------------


def measured_part(body: Body) -> str:
    """The part that was held out to measure: test or validation."""
    return str(body["spec"]["training"].get("evaluate_on") or "test")


def has_no_metrics(body: Body) -> bool:
    """Whether a run diverged and was not measured: NaN logits are no prediction. Older records have such metrics."""
    return body["record_version"] > 2 and body["status"] == "diverged"


def share_of(part: float, whole: int) -> float | None:
    """part / whole, None where there is nothing to divide by."""
    return part / whole if whole else None


def same(first: float | None, second: float | None, tolerance: float = SHARE_TOLERANCE) -> bool:
    """Whether both are None, or equal but for rounding."""
    return first is second or (first is not None and second is not None and abs(first - second) <= tolerance)


def is_whole(value: float) -> bool:
    """Whether a count is a whole number but for rounding."""
    return abs(value - round(value)) <= COUNT_TOLERANCE


def stages_of(body: Body) -> list[dict[str, Any]]:
    """The stages of a run: those that its record states, or for version 1 those that its method's options imply."""
    if body["record_version"] > 1:
        return list(body["stages"])
    spec, training = body["spec"], body["spec"]["training"]
    sizes, stages = body["split"]["sizes"]["train"], []
    for number, stage in enumerate(card_of(spec["uses"]).stages(spec["method_options"], training["epochs"])):
        size = stage.batch_size or training["batch_size"]
        per_epoch = steps_per_epoch(stage.sampling, size, training["drop_last"], sizes)
        stages.append({"name": str(number), **stage._asdict(), "batch_size": size, "steps_per_epoch": per_epoch})
    return stages


def sizes_of(part: str, sizes: dict[str, list[int]]) -> list[int]:
    """Examples of each class in what a stage trains on; of members, in all that they are chosen from."""
    if part.endswith("train+validation"):
        return [train + held_out for train, held_out in zip(sizes["train"], sizes["validation"], strict=True)]
    if part == "train+target":
        return [train + target for train, target in zip(sizes["train"], sizes["target"], strict=True)]
    return sizes["train"]


def steps_per_epoch(sampling: str, batch_size: int, drop_last: bool, sizes: list[int]) -> int:
    """Batches of one epoch. Class-aware sampling draws as many examples of each class as the largest class has."""
    drawn = max(sizes) * sum(size > 0 for size in sizes) if sampling == "class-aware" else sum(sizes)
    size = min(batch_size, drawn)
    return drawn // size if drop_last else -(-drawn // size)


def ends_with_an_epoch(body: Body) -> bool:
    """Whether the metrics measure the last epoch on the curves; a last stage without epochs would come after it."""
    stages = stages_of(body)
    return bool(stages) and not has_no_metrics(body) and (body["status"] == "diverged" or stages[-1]["epochs"] > 0)
