"""Made-up records of AutoBalance: two stages, what a search logs, the four cells of Waterbirds.

make(root, "paper/autobalance/mnist-lt/rho100/delta_l/seed0")        # as synthetic_records.make, and all of that
"""

from pathlib import Path
from typing import Any

import numpy as np

from reweigh.config.cards import card_of
from reweigh.records import record
from reweigh.streams import rng
from support import synthetic_records
from support.absgd_figures import with_arrays

CELLS = {"train": [1749, 92, 28, 529], "validation": [1749, 92, 28, 528], "test": [2255, 2255, 642, 642]}
ERRORS = {"train": 0.05, "validation": 0.2, "test": 0.18}  # where a search ends


def make(root: Path, run: str, status: str = "finished", **metrics: Any) -> dict[str, Any]:
    """Write the record of a run; return it. One that diverged logged six outer steps, the last of them NaN."""
    body = synthetic_records.make(root, run, status, **metrics)
    spec = body["spec"]
    draw = rng(spec["seed"], "made-up search", spec["setting"], spec["method"])
    body["stages"] = _stages(spec, body["split"]["sizes"])
    body["curves"] = _curves(body, draw)
    if spec["data"]["split"]["kind"] == "groups":
        _with_cells(body, draw)
    path = record.record_path(run, root)
    record.write(path, body)
    if "search_epochs" in spec["method_options"]:
        with_arrays(root, run, **_trace(body, draw))
    return record.read(path)


def _stages(spec: dict[str, Any], sizes: dict[str, list[int]]) -> list[dict[str, Any]]:
    planned = card_of(spec["uses"]).stages(spec["method_options"], spec["training"]["epochs"])
    names = ["search", "retrain"] if "search_epochs" in spec["method_options"] else ["fit"] * len(planned)
    return [
        {
            "name": name,
            "epochs": stage.epochs,
            "train": stage.train,
            "sampling": stage.sampling,
            "part": stage.part,
            "fresh": number > 0,
            "batch_size": spec["training"]["batch_size"],
            "steps_per_epoch": -(-sum(sizes["train"]) // spec["training"]["batch_size"]),
            "best_epoch": None,
            "best_epoch_test_accuracy": None,
        }
        for number, (name, stage) in enumerate(zip(names, planned, strict=True))
    ]


def _curves(body: dict[str, Any], draw: np.random.Generator) -> dict[str, list[Any]]:
    """Curves over all stages, and what `also_measure` asks for; the last value is that of the metrics."""
    ends = np.cumsum([stage["epochs"] for stage in body["stages"]])
    every = body["spec"]["training"]["evaluate_every"]
    shown = [epoch for epoch in range(1, int(ends[-1]) + 1) if epoch % every == 0 or epoch in ends]
    stages = [int(np.searchsorted(ends, epoch)) for epoch in shown]
    clock = np.cumsum([4.0 if stage == 0 and len(ends) > 1 else 1.0 for stage in stages])
    final = body["metrics"]["test_accuracy"] or 0.9
    curves: dict[str, list[Any]] = {
        "epoch": shown,
        "stage": stages,
        "train_loss": [1 / epoch for epoch in shown],
        "effective_weight": [1.0] * len(shown),
        "minority_recall": [None] * len(shown),
        "minority_precision": [None] * len(shown),
        "train_seconds": (clock * every * float(draw.uniform(0.9, 1.1))).tolist(),
        "test_accuracy": [final] * len(shown),
    }
    measured = body["spec"]["training"].get("also_measure") or []
    for part in [*measured, *(["test"] if measured else [])]:
        fall = [ERRORS[part] + 0.5 * np.exp(-6 * epoch / ends[0]) + draw.normal(0, 0.01) for epoch in shown]
        curves[f"{part}_balanced_accuracy"] = [float(np.clip(1 - error, 0, 1)) for error in fall]
        curves[f"{part}_accuracy"] = curves[f"{part}_balanced_accuracy"]
    return curves


def _with_cells(body: dict[str, Any], draw: np.random.Generator) -> None:
    """Counts of the four cells, in place: landbirds and waterbirds by background."""
    better = 0.03 * ("autobalance" in body["run"]) + 0.02 * ("threshold" in body["run"])
    wanted = np.clip(np.array([0.03, 0.2, 0.35, 0.1]) - better + draw.normal(0, 0.01, 4), 0, 1)
    tables = []
    for cell, size in enumerate(CELLS["test"]):
        wrong, label = round(size * wanted[cell]), cell // 2
        row = [0, 0]
        row[label], row[1 - label] = size - wrong, wrong
        tables.append([row, [0, 0]] if label == 0 else [[0, 0], row])
    whole = np.sum(tables, 0)
    recalls = [float(whole[label, label] / whole[label].sum()) for label in range(2)]
    body["group_sizes"] = {"target": [0] * 4, **{part: CELLS[part] for part in CELLS}}
    right = [table[cell // 2][cell // 2] / CELLS["test"][cell] for cell, table in enumerate(tables)]
    body["metrics"] |= {
        "group_confusion": tables,
        "confusion": whole.tolist(),
        "per_class_accuracy": recalls,
        "balanced_accuracy": float(np.mean(recalls)),
        "per_group_accuracy": right,
        "test_accuracy": float(np.trace(whole) / whole.sum()),
        "test_size": int(whole.sum()),
    }
    body["curves"]["test_accuracy"][-1:] = [body["metrics"]["test_accuracy"]]


def _trace(body: dict[str, Any], draw: np.random.Generator) -> dict[str, np.ndarray]:
    """What a search logs at each outer step; Δ and l drift apart by the rank of the class, λ_max falls."""
    options, search = body["spec"]["method_options"], body["stages"][0]
    steps, late = search["steps_per_epoch"], options["order"] == "inner-first"
    due = [
        epoch * steps + step + late
        for epoch in range(options["from_epoch"], search["epochs"])
        for step in range(0, steps, options["outer_every"])
    ][:4000]
    share, count = np.linspace(0, 1, len(due))[:, None], len(due)
    classes = len(body["split"]["sizes"]["train"])
    shape = (2, 2) if options["by"] == "cell" else (-(-classes // options["cluster_size"]),)
    rank = np.linspace(-1, 1, int(np.prod(shape)))
    noise = draw.normal(0, 0.05, (count, len(rank))).cumsum(0) / np.sqrt(count)
    arrays = {"outer_step": np.array(due)}
    arrays |= {
        name: (start - scale * share * rank + noise).reshape(count, *shape).astype(np.float32)
        for name, start, scale in (("l", 0.0, 0.8), ("delta", 1.0, 0.4))
        if name in options["design"]
    }
    largest = 8 * np.exp(-3 * share[:, 0]) + 0.5 + draw.uniform(0, 0.3, count)
    beyond = np.clip((largest - 2) / 20, 0, 1)
    arrays |= {"lambda_max": largest.astype(np.float32), "share_beyond": beyond.astype(np.float32)}
    if body["status"] == "diverged":
        arrays = {name: array[:6] for name, array in arrays.items()}
        for name in arrays.keys() - {"outer_step"}:
            arrays[name][-1] = np.nan
    return arrays
