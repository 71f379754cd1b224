"""Whether a record agrees with itself: what it states twice must match, even if its digest was computed again.

    contradictions(body)     # one line each; [] for a sound record of any version

Everything is recomputed from the confusion matrix, the split's sizes and the spec, in plain Python and without the code
that wrote the record (the definitions are those of `reweigh.evaluate` and `reweigh.data.batches`); the sizes of a
validation part with a long tail of its own are those of `reweigh.data.imbalance`.

What a record states only once can be altered unnoticed here: training losses, effective weights, seconds between the
first and the last epoch, an accuracy before the last epoch (if it stays a share of whole examples), sizes of parts that
were not measured, a span longer than its training, how many members a stage has, bytes, parameters and versions. Losses
and weights are only checked for their sign.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from reweigh.config.known_sizes import has_no_groups
from reweigh.config.names import RunName
from reweigh.data.groups import by_attribute
from reweigh.data.imbalance import validation_tail
from reweigh.digest import digest, is_foreign
from reweigh.errors import ConfigError
from reweigh.provenance.stage_consistency import (
    curves_agree,
    ends_with_an_epoch,
    has_no_metrics,
    is_whole,
    measured_part,
    same,
    share_of,
    stages_of,
    steps_agree,
)
from reweigh.records import record

Body = dict[str, Any]
# The keys that a version added.
NEWER = {
    2: {"energy_joules", "group_sizes", "resumed", "stages"},
    3: {"also_measured", "begun_by", "diverged_because", "prefix"},
}
EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)  # no version of torch that can train these methods is older
CLOCK_SKEW = timedelta(days=1)  # allowed between the machine that trained and this one
CLOCK_RATE = 0.02  # the share by which two clocks of one machine may differ over a run
ROUNDING = 1e-6  # of sums of seconds
MOST_WATTS = 3000.0  # more than any card draws


def contradictions(body: Body) -> list[str]:
    """Where a record contradicts itself, one line each. A missing or malformed key has a line too."""
    lines: list[str] = []
    for check in CHECKS:
        try:
            lines += check(body)
        except (ConfigError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            name = check.__name__.strip("_").removesuffix("_agree")
            lines.append(f"{name} cannot be checked: {type(error).__name__} {error}")
    return lines


# --- names and digests -----------------------------------------------------------------------------------------------


def _names(body: Body) -> Iterator[str]:
    spec, run = body["spec"], body["run"]
    if body["record_version"] not in record.READABLE:
        yield f"record_version is {body['record_version']}"
    for version, keys in NEWER.items():
        if body["record_version"] < version and (newer := keys & body.keys()):
            yield f"record_version is {body['record_version']}, which does not have {', '.join(sorted(newer))}"
    if run != str(RunName.of_spec(spec)):
        yield f"run is {run}, but its spec is that of {RunName.of_spec(spec)}"
    if body["spec_digest"] != digest(spec):
        yield "spec_digest is not the digest of the spec"
    if body["code"]["digest"] != digest(body["code"]["files"]):
        yield "code.digest is not the digest of code.files"
    readers = "data/readers" if body["record_version"] > 2 else "data"
    reader = f"{readers}/{spec['data']['dataset'].replace('-', '_')}.py"
    for name in ("training/engine.py", f"methods/{spec['uses']}.py", f"models/{spec['model']['name']}.py", reader):
        foreign = name.startswith("methods/") and any(map(is_foreign, body["code"]["files"]))
        if name not in body["code"]["files"] and not foreign:
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
    if _time(body["started"]) < EARLIEST:
        yield f"started {body['started']}, before any version of torch that could train it"
    if _time(body["ended"]) > datetime.now(UTC) + CLOCK_SKEW:
        yield f"ended {body['ended']}, which is in the future by this machine's clock"
    if not _was_resumed(body):
        yield from _spans(body)
    joules = body.get("energy_joules")
    if joules is not None and body["device"]["kind"] != "cuda":
        yield f"energy_joules is {joules} on a CPU, which has no counter"


def _was_resumed(body: Body) -> bool:
    return bool(body.get("resumed", 0) > 0)


def doubts(body: Body) -> list[str]:
    """What is odd in a record without contradiction that a clock may explain, one line each; [] for most.

    A run that was stopped and went on may have had two clocks, or one that was set back meanwhile.
    """
    if not _was_resumed(body):
        return []
    return [f"{line}; perhaps a clock was set back before it went on" for line in _spans(body)]


def _spans(body: Body) -> Iterator[str]:
    """Whether what a run took fits between its start and its end."""
    started, ended = _time(body["started"]), _time(body["ended"])
    if ended < started:
        yield f"ended {body['ended']}, before it started at {body['started']}"
    on_gpu = body["device"]["kind"] == "cuda"
    span = (ended - started).total_seconds() + 1  # both are cut to whole seconds
    elsewhere = _taken_over(body) + sum(part["seconds"] for part in body.get("begun_by", []))
    here, cores = body["seconds"] - elsewhere, 1 if on_gpu else body["device"]["threads"]
    # In version 1, `started` of a run that was stopped and continued is when its last part started.
    if body["record_version"] > 1 and here > span * cores * (1 + CLOCK_RATE):
        yield f"{here:.1f} s of training do not fit between started and ended, {span - 1:.0f} s apart"
    joules = body.get("energy_joules")
    if joules is not None and not 0 <= joules <= (span + elsewhere) * MOST_WATTS:
        yield f"energy_joules is {joules}, more than a card can draw in {span - 1:.0f} s"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _taken_over(body: Body) -> float:
    """The seconds of training taken over from another run. Before version 3 an upper bound: to the epoch after it."""
    if body["record_version"] > 2:
        return float(body["prefix"]["seconds"]) if body["prefix"] and body["prefix"]["reused"] else 0.0
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
    exact = body["record_version"] < 3 and ends_with_an_epoch(body)  # since then the end of a stage counts too
    if curve and (curve[-1] != body["seconds"] if exact else curve[-1] > body["seconds"]):
        yield f"seconds is {body['seconds']}, but curves.train_seconds ends with {curve[-1]}"
    if body["seconds"] and not stages_of(body):
        yield f"seconds is {body['seconds']}, but there was no stage to train"


def _prefix(body: Body) -> Iterator[str]:
    """The stages that runs share: they are the first, and what they cost is in the cost of the run."""
    if body["record_version"] < 3 or (prefix := body["prefix"]) is None:
        return
    stages, run, whole = body["stages"], prefix["run"], prefix["stages"] == len(body["stages"])
    RunName.parse(run)
    if prefix["of"] != len(stages) or not 1 <= prefix["stages"] <= len(stages):
        yield f"prefix has {prefix['stages']} of {prefix['of']} stages, but the run has {len(stages)}"
    own = run == body["run"]  # also if it took over what an earlier try of its own had trained
    if (own and whole) if prefix["reused"] else not own:
        yield f"prefix.reused is {prefix['reused']}, but {run} trained it"
    epochs = sum(stage["epochs"] for stage in stages[: prefix["stages"]])
    steps = sum(stage["epochs"] * stage["steps_per_epoch"] for stage in stages[: prefix["stages"]])
    if prefix["steps"] != (body["steps"] if whole else steps):
        yield f"prefix.steps is {prefix['steps']}, but its stages have {body['steps'] if whole else steps}"
    for key in ("seconds", "peak_bytes", "energy_joules"):
        if (prefix[key] is None) != (body[key] is None) or (prefix[key] is not None and prefix[key] > body[key]):
            yield f"prefix.{key} is {prefix[key]}, which is not in the {body[key]} of the run"
    clock = list(zip(body["curves"]["epoch"], body["curves"]["train_seconds"], strict=True))
    if any((spent > prefix["seconds"]) != (epoch > epochs) for epoch, spent in clock if spent != prefix["seconds"]):
        yield f"prefix.seconds is {prefix['seconds']}, but curves.train_seconds gives its {epochs} epochs another time"


def _begun(body: Body) -> Iterator[str]:
    """What other runs began: a part of what the run trained itself, or of what its prefix took."""
    prefix = body["prefix"] if body["record_version"] > 2 else None
    apart = prefix if prefix and prefix["reused"] else {"steps": 0, "seconds": 0.0}
    own = {"run": body["run"], **{key: body[key] - apart[key] for key in ("steps", "seconds")}}
    begun = {one["run"]: one for one in body.get("begun_by", [])}
    yield from _parts_of("begun_by", body.get("begun_by", []), own)
    if prefix:
        yield from _parts_of("prefix.begun_by", prefix.get("begun_by", []), prefix)
    for one in prefix.get("begun_by", []) if prefix and not prefix["reused"] else []:
        if any(one[key] > begun.get(one["run"], one | {key: 0})[key] for key in ("steps", "seconds")):
            yield f"prefix.begun_by has {one['steps']} steps of {one['run']}, which are not in begun_by"


def _parts_of(name: str, parts: list[dict[str, Any]], whole: Mapping[str, Any]) -> Iterator[str]:
    """Parts that other runs trained: each run once, none of them the run itself, together no more than the whole."""
    runs = [str(RunName.parse(part["run"])) for part in parts]
    if whole["run"] in runs or len(set(runs)) < len(runs):
        yield f"{name} names {', '.join(runs)}; it must name other runs than {whole['run']}, each once"
    for key in ("steps", "seconds"):
        values = [part[key] for part in parts]
        if any(value < 0 for value in values) or sum(values) > whole[key] + ROUNDING:
            yield f"{name} has {sum(values)} {key}, more than the {whole[key]} of {whole['run']}"


# --- data ------------------------------------------------------------------------------------------------------------


def _sizes(body: Body) -> Iterator[str]:
    recipe, sizes = body["spec"]["data"]["split"], body["split"]["sizes"]
    classes = len(sizes["train"] if has_no_metrics(body) else body["metrics"]["confusion"])
    for part, counts in sizes.items():
        if len(counts) != classes:
            yield f"split.sizes.{part} has {len(counts)} classes, the confusion matrix {classes}"
    total = {part: sum(counts) for part, counts in sizes.items()}
    expected = {"target": recipe["target_size"], "test": recipe.get("test_size")}
    if recipe.get("validation_largest_class"):
        expected["validation"] = sum(validation_tail(recipe, classes))
    elif recipe.get("validation_share") is None:
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
    if body["record_version"] > 1 and groups is None and by_attribute(recipe):
        yield "group_sizes is null, but weights are by group"
    if groups is not None and not by_attribute(recipe) and has_no_groups(body["spec"]["data"]["dataset"]):
        yield f"group_sizes is there, but {body['spec']['data']['dataset']} has no groups"
    for part, counts in (groups or {}).items():
        if sum(counts) != total[part]:
            yield f"group_sizes.{part} sums to {sum(counts)}, but split.sizes.{part} to {total[part]}"


# --- metrics ---------------------------------------------------------------------------------------------------------


def _metrics(body: Body) -> Iterator[str]:
    metrics, measured = body["metrics"], measured_part(body)
    if has_no_metrics(body):
        if stated := [key for key, value in metrics.items() if value is not None]:
            yield f"status is diverged, but metrics has {', '.join(stated)}"
        return
    table, kind = metrics["confusion"], body["spec"]["data"]["split"]["kind"]
    rows, right = [sum(row) for row in table], [row[label] for label, row in enumerate(table)]
    if any(len(row) != len(table) for row in table) or not all(
        type(count) is int and count >= 0 for row in table for count in row
    ):
        yield "metrics.confusion is not a square matrix of counts"
    if rows != body["split"]["sizes"][measured]:
        yield f"the rows of metrics.confusion do not sum to split.sizes.{measured}"
    recalls = [share_of(hits, size) for hits, size in zip(right, rows, strict=True)]
    defined = [recall for recall in recalls if recall is not None]
    two_class = kind == "two-class"
    expected = {
        f"{measured}_size": sum(rows),
        f"{measured}_accuracy": share_of(sum(right), sum(rows)),
        "balanced_accuracy": math.fsum(defined) / len(defined) if defined else None,
        "minority_recall": recalls[0] if two_class else None,
        "minority_precision": share_of(right[0], sum(row[0] for row in table)) if two_class else None,
    }
    for key, value in expected.items():
        if not same(metrics[key], value):
            yield f"metrics.{key} is {metrics[key]}, but its confusion matrix gives {value}"
    if len(recalls) != len(metrics["per_class_accuracy"]):
        yield "metrics.per_class_accuracy does not have one entry for each class"
    for label, (stated, value) in enumerate(zip(metrics["per_class_accuracy"], recalls, strict=False)):
        if not same(stated, value):
            yield f"metrics.per_class_accuracy of class {label} is {stated}, but its confusion matrix gives {value}"
    yield from _groups(body, sum(right), sum(rows))


def _groups(body: Body, right: int, size: int) -> Iterator[str]:
    """Accuracies of groups must be shares of whole numbers of examples, and add up to all right answers."""
    shares, sizes = body["metrics"]["per_group_accuracy"], body.get("group_sizes")
    grouped = sizes is not None if body["record_version"] > 1 else by_attribute(body["spec"]["data"]["split"])
    if (shares is not None) != grouped:
        yield f"metrics.per_group_accuracy is {shares}, but group_sizes {sizes}: only both or neither can be null"
    if not grouped or shares is None:
        return
    counts = (sizes or {}).get(measured_part(body)) or _two_groups(shares, right, size)
    if counts is None:
        return
    answers = [(share or 0) * count for share, count in zip(shares, counts, strict=True)]
    if sum(counts) != size or not all(map(is_whole, answers)) or round(math.fsum(answers)) != right:
        yield "metrics.per_group_accuracy does not give the right answers that its confusion matrix counts"
    yield from _tables_of_groups(body["metrics"])


def _tables_of_groups(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The confusion matrices of groups, where a record has them: they add up, and give the groups' accuracies."""
    if (tables := metrics.get("group_confusion")) is None:
        return
    table, shares = metrics["confusion"], metrics["per_group_accuracy"]
    if any([len(row) for row in group] != [len(row) for row in table] for group in tables):
        yield "metrics.group_confusion is not a matrix like confusion for each group"
        return
    added = [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]
    if added != table:
        yield "metrics.group_confusion does not add up to confusion"
    right = [share_of(sum(row[label] for label, row in enumerate(group)), sum(map(sum, group))) for group in tables]
    if len(right) != len(shares) or not all(map(same, right, shares)):
        yield f"metrics.per_group_accuracy is {shares}, but group_confusion gives {right}"


def _two_groups(shares: list[float], right: int, size: int) -> list[int] | None:
    """The sizes of two groups, from their accuracies and that of all; None if these do not determine them."""
    if len(shares) != 2 or None in shares or shares[0] == shares[1]:
        return None
    first = (right - size * shares[1]) / (shares[0] - shares[1])
    return [round(first), size - round(first)] if is_whole(first) and 0 < first < size else [0, 0]


def _also(body: Body) -> Iterator[str]:
    """What was measured beside the held-out part, where the spec asks for it."""
    if body["record_version"] < 3:
        return
    asked, found = set(body["spec"]["training"].get("also_measure") or ()), body["also_measured"]
    if (found is None) != (not asked or has_no_metrics(body)) or not asked <= (found or dict.fromkeys(asked)).keys():
        yield f"also_measured is not of the parts that its spec asks for: {', '.join(sorted(asked)) or 'nothing'}"
    for name, part in (found or {}).items():
        of, table = name.removesuffix("_clean"), part["confusion"]
        rows, sizes = [sum(row) for row in table], body["split"]["sizes"][of]
        recalls = [share_of(row[label], size) for label, (row, size) in enumerate(zip(table, rows, strict=True))]
        defined = [recall for recall in recalls if recall is not None]
        right = sum(row[label] for label, row in enumerate(table))
        if of not in asked or part["size"] != sum(sizes) or sum(rows) != sum(sizes) or (of == name and rows != sizes):
            yield f"also_measured.{name}.confusion does not count the examples of split.sizes.{of}"
        values = {
            "accuracy": share_of(right, sum(sizes)),
            "balanced_accuracy": share_of(math.fsum(defined), len(defined)),
        }
        for key, value in values.items():
            if not same(part[key], value):
                yield f"also_measured.{name}.{key} is {part[key]}, but its confusion matrix gives {value}"
            curve = body["curves"][f"{name}_{key}"]
            if curve and ends_with_an_epoch(body) and curve[-1] != part[key]:
                yield f"curves.{name}_{key} ends with {curve[-1]}, but also_measured says {part[key]}"
        if len(recalls) != len(part["per_class_accuracy"]) or not all(map(same, part["per_class_accuracy"], recalls)):
            yield f"also_measured.{name}.per_class_accuracy is not what its confusion matrix gives"


CHECKS: tuple[Callable[[Body], Iterator[str]], ...] = (
    _names,
    _times,
    _costs,
    _prefix,
    _begun,
    _sizes,
    _metrics,
    curves_agree,
    _also,
    steps_agree,
)
