"""What metrics come to, and in which steps they are known, from raw records with numpy alone."""

import math
from typing import Any

import numpy as np

Body = dict[str, Any]
OF_CELLS = ("group_balanced_error", "worst_class_group_error", "deo_error", "standard_error_train_shares")
OF_GROUPS = ("mean_group_accuracy", "worst_cell_accuracy")
LOWER = (*OF_CELLS, "equal_opportunity_gap", "balanced_error")  # metrics of which less is better
TOLERANCES = {"deo_error": 0.04, "equal_opportunity_gap": 0.02}  # else a point


def turned(body: Body, metric: str) -> float | None:
    """A metric of a record, turned so that higher is better."""
    value = stated(body, metric)
    return -value if metric in LOWER and value is not None else value


def stated(body: Body, metric: str) -> float | None:
    """A metric as it is printed."""
    found = body["metrics"]
    if body["status"] != "finished":
        return None
    if metric == "balanced_error":
        return 1 - found["balanced_accuracy"]
    if metric == "tail_recall":
        return float(np.mean([found["per_class_accuracy"][label] for label in rare(body)]))
    if found_by := of_classes(body, metric):
        table, chosen = found_by
        return float(np.mean([table[label, label] / table[label].sum() for label in chosen]))
    if metric in OF_GROUPS:
        right, sizes = of_groups(body)
        return float((right / sizes).mean() if metric == "mean_group_accuracy" else (right / sizes).min())
    if metric == "worst_group_accuracy":
        tables = np.array(found["group_confusion"])
        return float((np.trace(tables, axis1=1, axis2=2) / tables.sum((1, 2))).min())
    if metric in ("equal_opportunity_gap", "worst_group_tpr"):
        tables = np.array(found["group_confusion"])
        rates = tables[:, 1, 1] / tables[:, 1].sum(1)
        return float(rates.min() if metric == "worst_group_tpr" else np.ptp(rates))
    if metric not in OF_CELLS:
        return found.get(metric)
    errors, _, shares = cells(body)
    if metric == "group_balanced_error":
        return float(errors.mean())
    if metric == "worst_class_group_error":
        return float(errors.max())
    if metric == "standard_error_train_shares":
        return float(errors @ shares)
    return float(abs(errors[0] - errors[1]) + abs(errors[2] - errors[3]))


def cells(body: Body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, test examples and training shares of the four cells of class and place."""
    tables = np.array(body["metrics"]["group_confusion"])
    label = [0, 0, 1, 1]
    assert [int(np.flatnonzero(table.sum(1))[0]) for table in tables] == label
    sizes = np.array([table[own].sum() for table, own in zip(tables, label, strict=True)])
    right = np.array([table[own, own] for table, own in zip(tables, label, strict=True)])
    trained = np.add(body["group_sizes"]["train"], body["group_sizes"]["validation"])
    return 1 - right / sizes, sizes, trained / trained.sum()


def of_groups(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """How many are right, of how many, in each row that has any: classes, or cells of class and group."""
    found = body["metrics"].get("group_confusion")
    rows = [(row[k], sum(row)) for table in found or [body["metrics"]["confusion"]] for k, row in enumerate(table)]
    right, sizes = np.array([row for row in rows if row[1]], float).T
    return right, sizes


def of_classes(body: Body, metric: str) -> tuple[np.ndarray, list[int]] | None:
    """The confusion that a metric of HAR's cells is made from, and the classes of its cell; None for any other."""
    beside = body.get("also_measured") or {}
    if metric == "validation_balanced_accuracy":
        table = np.array(beside["validation"]["confusion"])[:, : len(body["split"]["sizes"]["train"])]
        return table, list(range(len(table)))
    name, _, cell = metric.partition("accuracy_")
    if name not in ("", "train_", "train_clean_") or cell.count("_") != 1:
        return None
    split = body["spec"]["data"]["split"]
    paired = {label for group in split["noise"]["groups"] for label in group}
    small, (how, often) = set(split.get("rare") or ()), cell.split("_")
    measured = body["metrics"] if not name else beside.get(name[:-1], beside["train"])
    table = np.array(measured["confusion"])
    return table, [
        k for k in range(len(table)) if (k in paired) == (how == "noisy") and (k in small) == (often == "rare")
    ]


def rare(body: Body) -> list[int]:
    sizes = body["split"]["sizes"]["train"]
    return np.argsort(sizes, kind="stable")[: len(sizes) // 2].tolist()


def step(body: Body, metric: str) -> float:
    """The step in which a metric of one run is known."""
    table = np.array(body["metrics"]["confusion"])
    if metric in ("balanced_accuracy", "balanced_error"):
        return math.hypot(*(1 / table.sum(1))) / len(table)
    if metric == "tail_recall":
        return math.hypot(*(1 / table.sum(1)[rare(body)])) / len(rare(body))
    if metric in OF_GROUPS:
        _, sizes = of_groups(body)
        return math.hypot(*(1 / sizes)) / len(sizes) if metric == "mean_group_accuracy" else float(max(1 / sizes))
    if found := of_classes(body, metric):
        return math.hypot(*(1 / found[0].sum(1)[found[1]])) / len(found[1])
    if metric == "worst_group_accuracy":
        return 1 / min(np.sum(group) for group in body["metrics"]["group_confusion"])
    if metric in ("equal_opportunity_gap", "worst_group_tpr"):
        each = [1 / sum(group[1]) for group in body["metrics"]["group_confusion"]]
        return max(each) if metric == "worst_group_tpr" else math.hypot(*each)
    if metric in OF_CELLS:
        _, sizes, shares = cells(body)
        if metric == "worst_class_group_error":
            return float(max(1 / sizes))
        if metric == "standard_error_train_shares":
            return math.hypot(*(shares / sizes))
        return math.hypot(*(1 / sizes)) / (4 if metric == "group_balanced_error" else 1)
    of = {"minority_recall": table[0].sum(), "minority_precision": table[:, 0].sum()}.get(metric, table.sum())
    return 1 / of if of else 0.0
