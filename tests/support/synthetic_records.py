"""Synthetic records in the format of real ones, for tests that must not train anything.

root = project(tmp_path)                                   # config, manifest, published numbers, notebooks
fill(root, "quick", "tdr", "fig5")                         # every record that fig5 needs, with plausible numbers
make(root, "quick/tdr/mnist-4v9/rho0.1/tdr/seed0", test_accuracy=0.9)
"""

import bisect
import functools
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.config.loading import load
from reweigh.data.arrays import npz_bytes
from reweigh.data.imbalance import validation_tail
from reweigh.data.obtain import recipe_digest, split_path
from reweigh.digest import digest, file_digest
from reweigh.records import record
from reweigh.streams import rng
from support.project import ROOT

NAMES = ("paper", "experiment", "setting", "method")
# Roughly where each method ends at the mildest ratio, and what it loses per decade of imbalance.
LEVELS = {
    "tdr": (0.985, 0.05),
    "tdr_p": (0.94, 0.14),
    "er": (0.96, 0.12),
    "none": (0.99, 0.10),
    "hard": (0.98, 0.07),
    "rand": (0.8, 0.2),
    "constant": (0.786, 0.0),
}


def project(root: Path) -> Path:
    """A copy of the parts of the project that results are made from, without any record."""
    for name in ("config", "data/published", "notebooks", "workflow/report"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "data/manifest.yaml", root / "data/manifest.yaml")
    (root / "data/embedded").symlink_to(ROOT / "data/embedded")
    return root


def fill(
    root: Path, scale: str, paper: str, artifact: str, optional: bool = False, seeds: int | None = None
) -> list[str]:
    """Write the records that an artifact needs at a scale (`optional`: those it also draws); return their runs."""
    config = load(root)
    cells = config.cells_of(scale, paper, artifact)
    cells += config.cells_of(scale, paper, artifact, optional=True) if optional else []
    runs = [run for cell in cells for run in config.runs_of(cell)[:seeds]]
    for run in runs:
        make(root, run)
    return runs


def make(
    root: Path, run: str, status: str = "finished", split: dict[str, Any] | None = None, **metrics: Any
) -> dict[str, Any]:
    """Write the record of one run, with invented results, or `metrics` where they are given; return it.

    `split` (a described split) gives a true split digest and sizes; without it they are invented too, with so many test
    examples that any accuracy is a share of them, unless the spec says how many. The accuracy is the nearest that can
    be, and all agrees with it, but for other `metrics`, which are taken as they are.
    """
    spec = load(root).resolve(run)
    path = record.record_path(run, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    stages = _stages(spec, split["sizes"] if split else _sizes(spec))
    sizes = split["sizes"] if split else _sizes(spec)
    groups = split["group_sizes"] if split else _group_sizes(sizes, _has_cells(spec))
    curves, found = _results(spec, stages, sizes, groups, metrics)
    if status == "diverged":
        _without_predictions(curves, found)
    measured = spec["training"].get("evaluate_on") or "test"
    _best_epochs(stages, curves, found, f"{measured}_accuracy", metrics)
    steps = sum(stage["epochs"] * stage["steps_per_epoch"] for stage in stages)
    body = {
        "run": run,
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
        "git": {"commit": "0" * 40, "dirty": False},
        "environment": {
            "python": "3.11.0",
            "python_implementation": "CPython",
            "torch": "2.11.0",
            "numpy": "2.0.0",
            "pillow": None,
            "cuda": None,
            "cudnn": None,
            "driver": None,
            "platform": "test",
            "lock_digest": None,
        },
        "split": {
            "path": split_path(spec).as_posix(),
            "digest": split["digest"] if split else digest(run),
            "recipe_digest": recipe_digest(spec, root / "data"),
            "sizes": sizes,
        },
        "group_sizes": groups if spec["data"]["split"]["kind"] == "groups" else None,
        "raw": split["raw"] if split else _raw(spec["data"]["dataset"], root),
        "stages": stages,
        "prefix": _prefix(run, stages, curves) if "stage_one" in spec["method_options"] else None,
        "device": {
            "kind": "cpu",
            "name": "a made-up processor",
            "threads": spec["training"]["threads"],
            "precision": spec["training"]["precision"],
            "runs_at_once": 1,
            "graph": None,
        },
        "status": status,
        "diverged_at_step": None if status == "finished" else max(0, steps - 1),
        "diverged_because": None if status == "finished" else "a loss was not finite",
        "started": "2024-01-01T00:00:00Z",
        "ended": "2024-01-01T00:10:00Z",
        "resumed": 0,
        "seconds": curves["train_seconds"][-1] if curves["train_seconds"] else 0.0,
        "gpu_seconds": 0.0,
        "energy_joules": None,
        "peak_bytes": 10**8,
        "steps": steps,
        "parameters": 43746,
        "curves": curves,
        "metrics": found,
        "also_measured": None,
        "trace": _trace(path, spec, sizes["train"]),
    }
    return record.write(path, body)


def _level(spec: dict[str, Any]) -> float:
    top, loss = LEVELS.get(spec["method"].removesuffix("_mean").removesuffix("_1c").removesuffix("_class"), (0.9, 0.1))
    ratio = spec["data"]["split"].get("imbalance_ratio", 10)
    noise = rng(spec["seed"], "made-up", spec["setting"], spec["method"]).normal(
        0, 0.008 if spec["method"] == "tdr" else 0.02
    )
    return float(np.clip(top - loss * np.log10(ratio / 10) + (noise if loss else 0), 0.02, 0.999))


def _results(
    spec: dict[str, Any],
    stages: list[dict[str, Any]],
    sizes: dict[str, list[int]],
    groups: dict[str, list[int]],
    given: dict[str, Any],
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Curves and metrics, all from the confusion matrices that go with an accuracy after each evaluated epoch."""
    measured = spec["training"].get("evaluate_on") or "test"
    counts, kind = sizes[measured], spec["data"]["split"]["kind"]
    final = given.get(f"{measured}_accuracy", _level(spec))
    epochs, every = sum(stage["epochs"] for stage in stages), spec["training"]["evaluate_every"]
    ends = list(itertools.accumulate(stage["epochs"] for stage in stages))
    shown = [epoch for epoch in range(1, epochs + 1) if epoch % every == 0 or epoch in ends]
    noise = rng(spec["seed"], "made-up curve", spec["method"]).normal(0, 0.02, len(shown))
    own = float(rng(spec["seed"], "made-up loss", *(spec[name] for name in NAMES)).uniform(0, 1e-4))
    rise = [1 - np.exp(-4 * epoch / epochs) for epoch in shown]
    accuracy = [float(np.clip(0.5 + (final - 0.5) * r + e * (1 - r), 0, 1)) for r, e in zip(rise, noise, strict=True)]
    rows = [_scores(_confusion(counts, share), kind) for share in [*accuracy[:-1], final]]
    last, path = rows[-1], rows if shown else []
    right = round(last["accuracy"] * sum(counts))
    curves = {
        "epoch": shown,
        "stage": [bisect.bisect_left(ends, epoch) for epoch in shown],
        "train_loss": [1 - 0.9 * r + own for r in rise],
        "effective_weight": [0.5] * len(shown),
        f"{measured}_accuracy": [row["accuracy"] for row in path],
        "minority_recall": [row["minority_recall"] for row in path],
        "minority_precision": [row["minority_precision"] for row in path],
        "train_seconds": [(1.4 if spec["uses"] == "er" else 0.5) * epoch for epoch in shown],
    }
    metrics = {
        **{name: value for name, value in last.items() if name != "accuracy"},
        f"{measured}_accuracy": last["accuracy"],
        f"{measured}_size": sum(counts),
        f"best_epoch_{measured}_accuracy": None,
        "per_group_accuracy": _shared(right, groups[measured]) if kind == "groups" else None,
        **(_of_cells(last["confusion"], groups[measured]) if _has_cells(spec) else {}),
        **{name: value for name, value in given.items() if name != f"{measured}_accuracy"},
    }
    return curves, metrics


def _without_predictions(curves: dict[str, list[Any]], metrics: dict[str, Any]) -> None:
    """What a run leaves that diverged in its last epoch: no metrics, in place."""
    metrics.update(dict.fromkeys(metrics))
    for name, values in curves.items():
        if name not in ("epoch", "stage", "train_loss", "effective_weight", "train_seconds"):
            values[-1:] = [None] * len(values[-1:])


def _best_epochs(
    stages: list[dict[str, Any]],
    curves: dict[str, list[Any]],
    metrics: dict[str, Any],
    name: str,
    given: dict[str, Any],
) -> None:
    """Write the best epoch of each stage, and that of the last into the metrics, in place."""
    best = None
    for number, stage in enumerate(stages):
        rows = zip(curves[name], curves["epoch"], curves["stage"], strict=True)
        best, epoch = max(
            ((share, -epoch) for share, epoch, of in rows if of == number and share is not None), default=(None, None)
        )
        stage |= {"best_epoch": None if epoch is None else -epoch, f"best_epoch_{name}": best}
    if metrics[name] is not None and f"best_epoch_{name}" not in given:
        metrics[f"best_epoch_{name}"] = metrics[name] if best is None else best


def _prefix(run: str, stages: list[dict[str, Any]], curves: dict[str, list[Any]]) -> dict[str, Any]:
    """A first stage that the run trained itself."""
    clock = dict(zip(curves["epoch"], curves["train_seconds"], strict=True))
    return {
        "key": "1" * 64,
        "stages": 1,
        "of": len(stages),
        "reused": False,
        "run": run,
        "digest": "2" * 64,
        "seconds": clock[stages[0]["epochs"]],
        "steps": stages[0]["epochs"] * stages[0]["steps_per_epoch"],
        "peak_bytes": 10**8,
        "energy_joules": None,
    }


def _confusion(counts: list[int], accuracy: float) -> list[list[int]]:
    """A confusion matrix with that accuracy, or the nearest: mistakes are spread evenly, and go to the next class."""
    classes, wrong = len(counts), sum(counts) - round(accuracy * sum(counts))
    mistakes = [wrong * count // sum(counts) for count in counts]
    for label in range(wrong - sum(mistakes)):
        mistakes[label] += 1
    table = [[0] * classes for _ in counts]
    for label, (count, missed) in enumerate(zip(counts, mistakes, strict=True)):
        table[label][label] = count - missed
        table[label][(label + 1) % classes] += missed
    return table


def _scores(table: list[list[int]], kind: str) -> dict[str, Any]:
    recalls = [row[label] / sum(row) for label, row in enumerate(table)]
    predicted = sum(row[0] for row in table)
    two_class = kind == "two-class"
    return {
        "accuracy": sum(row[label] for label, row in enumerate(table)) / sum(map(sum, table)),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "per_class_accuracy": recalls,
        "minority_recall": recalls[0] if two_class else None,
        "minority_precision": table[0][0] / predicted if two_class and predicted else None,
        "confusion": table,
    }


def _shared(right: int, groups: list[int]) -> list[float]:
    """An accuracy for each group, from the right answers of all, as evenly as may be."""
    each = [right * size // sum(groups) for size in groups]
    each[-1] += right - sum(each)
    return [answers / size for answers, size in zip(each, groups, strict=True)]


def _has_cells(spec: dict[str, Any]) -> bool:
    """Whether the groups of a run are the cells of class and place, two of each class."""
    return spec["data"]["dataset"].startswith("waterbirds") and spec["data"]["split"]["kind"] == "groups"


def _of_cells(table: list[list[int]], groups: list[int]) -> dict[str, Any]:
    """Counts and accuracies by cell that add up to a confusion matrix; an odd mistake is in the first of two cells."""
    cells = []
    for label, row in enumerate(table):
        wrong = row[1 - label]
        missed = _spread(wrong, 2)
        for size, mistakes in zip(groups[2 * label : 2 * label + 2], missed, strict=True):
            own = [size - mistakes, mistakes] if label == 0 else [mistakes, size - mistakes]
            cells.append([own if k == label else [0, 0] for k in range(2)])
    accuracies = [cell[k // 2][k // 2] / max(1, sum(cell[k // 2])) for k, cell in enumerate(cells)]
    return {"per_group_accuracy": accuracies, "group_confusion": cells}


def _stages(spec: dict[str, Any], sizes: dict[str, list[int]]) -> list[dict[str, Any]]:
    options, training = spec["method_options"], spec["training"]
    if spec["uses"] == "constant":
        return []
    sampling = options["stage_one"]["sampling"] if "stage_one" in options else options.get("sampling", "uniform")
    stages = [{"name": "train", "epochs": training["epochs"], "train": "all", "sampling": sampling}]
    if "stage_one" in options:
        second = {"epochs": 0, "sampling": "uniform", **options.get("second_stage", {})}
        stages.append({"name": "second", "train": "head", **{key: second[key] for key in ("epochs", "sampling")}})
    for number, stage in enumerate(stages):
        said = options.get("second_stage", {}) if number else {}
        size, train = said.get("batch_size", training["batch_size"]), sizes["train"]
        drawn = max(train) * np.count_nonzero(train) if stage["sampling"] == "class-aware" else sum(train)
        whole, left = divmod(int(drawn), min(size, int(drawn)))
        stage |= {
            "part": "train",
            "fresh": False,
            "batch_size": size,
            "steps_per_epoch": whole + (left > 0 and not training["drop_last"]),
        }
    return stages


def _spread(total: int, places: int) -> list[int]:
    return [total // places + (place < total % places) for place in range(places)]


def _sizes(spec: dict[str, Any]) -> dict[str, list[int]]:
    split, many = spec["data"]["split"], 10**8  # so many that any accuracy is a share of them
    classes = 2 if split["kind"] in ("two-class", "groups") else 10
    if classes == 10:
        train = [int(split.get("largest_class", 500) * split.get("imbalance_ratio", 1) ** (-k / 9)) for k in range(10)]
    else:
        majority = int(split.get("total", 30000) / (1 + 1 / split.get("imbalance_ratio", 2)))
        train = [split.get("total", 30000) - majority, majority]
    held_out = [many] * classes if split.get("validation_share") else _spread(split.get("validation_size", 0), classes)
    if split.get("validation_largest_class"):
        held_out = validation_tail(split, classes)
    test = _spread(split["test_size"], classes) if split.get("test_size") else [many] * classes
    return {"train": train, "target": _spread(split["target_size"], classes), "validation": held_out, "test": test}


def _group_sizes(sizes: dict[str, list[int]], cells: bool = False) -> dict[str, list[int]]:
    if cells:
        return {part: [*_spread(counts[0], 2), *_spread(counts[1], 2)] for part, counts in sizes.items()}
    return {part: _spread(sum(counts), 2) for part, counts in sizes.items()}


def _trace(path: Path, spec: dict[str, Any], counts: list[int]) -> dict[str, Any] | None:
    if spec["uses"] != "tdr":
        return None
    steps, classes = 10 * spec["training"]["epochs"], len(counts)
    drift = rng(spec["seed"], "made-up weights").normal(0, 0.01, (steps, classes)).cumsum(0) / np.sqrt(steps)
    pull = np.log(np.asarray(counts, float).max() / counts) * np.linspace(0, 0.03, steps)[:, None]
    weights = np.clip(1 / classes + drift + pull, 0, None)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    arrays = {"class_weights": weights, "outer_step": np.arange(0, 10 * steps, 10, dtype=np.int32)}
    trace = path.with_suffix(".npz")
    trace.write_bytes(npz_bytes(arrays))
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes}


@functools.cache
def _raw(dataset: str, root: Path) -> list[dict[str, Any]]:
    """What a receipt would say of a data set's files, by the manifest; made up where the manifest is silent."""
    from reweigh.data.manifest import Manifest

    edition = Manifest.load(root / "data/manifest.yaml")[dataset].editions[0]
    return [
        {"dataset": dataset, "edition": edition.name, "name": file.name, "bytes": file.bytes or 1,
         "sha256": file.sha256 or digest(file.name), "source": "embedded", "url": file.urls[0] if file.urls else None}
        for file in edition.files
    ]  # fmt: skip
