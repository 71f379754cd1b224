"""Metrics, all of them derived from one count: how many examples of each group and label were given each prediction."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reweigh.data.batches import InputPart


def confusion(
    predict: Callable[[torch.Tensor], torch.Tensor], part: InputPart, classes: int, groups: int, batch_size: int = 500
) -> np.ndarray:
    """Counts (groups, labels, predictions) over a whole part, int64. `predict` maps inputs to logits (B, classes)."""
    cells = torch.zeros(groups * classes * classes, dtype=torch.int64, device=part.labels.device)
    with torch.no_grad():
        for batch in part.in_order(batch_size):
            predicted = predict(batch.inputs).argmax(1)
            cells += torch.bincount((batch.groups * classes + batch.labels) * classes + predicted, minlength=len(cells))
    return cells.reshape(groups, classes, classes).cpu().numpy()


def share(part: float, whole: float) -> float | None:
    """part / whole, None where there is nothing to divide by."""
    return float(part / whole) if whole else None


def metrics(counts: np.ndarray, two_class: bool, group_is_label: bool) -> dict[str, Any]:
    """All metrics of a confusion count (groups, labels, predictions).

    accuracy               share of examples with the right label
    per_class_accuracy     recall of each label; balanced_accuracy is their mean
    per_group_accuracy     accuracy within each group; None where the groups are the labels
    minority_recall        TP/(TP+FN) and TP/(TP+FP) of label 0, the minority of a two-class task; else None
    minority_precision     None also where nothing was predicted as minority
    """
    table = counts.sum(0)
    recalls = [share(table[label, label], table[label].sum()) for label in range(len(table))]
    known = [recall for recall in recalls if recall is not None]
    return {
        "test_accuracy": share(np.trace(table), table.sum()),
        "balanced_accuracy": float(np.mean(known)) if known else None,
        "per_class_accuracy": recalls,
        "per_group_accuracy": None if group_is_label else [share(np.trace(group), group.sum()) for group in counts],
        "minority_recall": recalls[0] if two_class else None,
        "minority_precision": share(table[0, 0], table[:, 0].sum()) if two_class else None,
        "confusion": table.tolist(),
        "test_size": int(table.sum()),
    }
