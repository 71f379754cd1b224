"""Metrics, all of them derived from one count: how many examples of each group and label were given each prediction."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reweigh.data.batches import InputPart

# Examples of a batch. The sums of a CPU's kernels depend on the size of the batch, so that it stays what it always was.
BATCH_SIZES = {"cpu": 500, "cuda": 2000}

MOST_COUNTS = 10**5  # by group that a record states: of iWildCam's 323 places and 182 classes they would be ten million


def batch_size_on(device: torch.device) -> int:
    """How many examples of a part are shown to a model at a time to measure it."""
    return BATCH_SIZES.get(device.type, 500)


def confusion(
    predict: Callable[[torch.Tensor], torch.Tensor],
    part: InputPart,
    classes: int,
    groups: int,
    batch_size: int | None = None,
    by: torch.Tensor | None = None,
) -> np.ndarray:
    """Counts (groups, labels, predictions) over a whole part, int64. `predict` maps inputs to logits (B, classes).

    The groups are those that weights are by, or `by`: of each example of the part, int64 (N,), on its device.

    The last of the `classes + 1` predictions counts the examples that have none: a logit of theirs is not finite.
    """
    return count_predictions(predict, part, classes, groups, batch_size, by).cpu().numpy()


def count_predictions(
    predict: Callable[[torch.Tensor], torch.Tensor],
    part: InputPart,
    classes: int,
    groups: int,
    batch_size: int | None = None,
    by: torch.Tensor | None = None,
) -> torch.Tensor:
    """The counts of `confusion` on the device, which nothing has waited for."""
    device = part.labels.device
    cells = torch.zeros(groups * classes * (classes + 1), dtype=torch.int64, device=device)
    with torch.no_grad():
        for batch in part.in_order(batch_size or batch_size_on(device)):
            logits = predict(batch.inputs)
            predicted = torch.where(logits.isfinite().all(1), logits.argmax(1), classes)
            group = batch.groups if by is None else by[batch.rows]
            cell = (group * classes + batch.labels) * (classes + 1) + predicted
            cells.scatter_add_(0, cell, torch.ones_like(cell))  # whole numbers: in any order the same sum
    return cells.view(groups, classes, classes + 1)


def share(part: float, whole: float) -> float | None:
    """part / whole, None where there is nothing to divide by."""
    return float(part / whole) if whole else None


def metrics(counts: np.ndarray, two_class: bool, group_is_label: bool) -> dict[str, Any]:
    """All metrics of counts (groups, labels, predictions). What a last column counts beyond the labels is wrong.

    accuracy               share of examples with the right label
    per_class_accuracy     recall of each label; balanced_accuracy is their mean
    per_group_accuracy     accuracy within each group; None where the groups are the labels
    minority_recall        TP/(TP+FN) and TP/(TP+FP) of label 0, the minority of a two-class task; else None
    minority_precision     None also where nothing was predicted as minority
    confusion              labels by predictions; the examples without a prediction are in none of its columns
    group_confusion        the same of each group; absent where the groups are the labels, or these are too many counts
    """
    table, classes = counts.sum(0), counts.shape[1]
    recalls = [share(table[label, label], table[label].sum()) for label in range(classes)]
    defined = [recall for recall in recalls if recall is not None]
    return {
        "test_accuracy": share(np.trace(table), table.sum()),
        "balanced_accuracy": float(np.mean(defined)) if defined else None,
        "per_class_accuracy": recalls,
        "per_group_accuracy": None if group_is_label else [share(np.trace(group), group.sum()) for group in counts],
        "minority_recall": recalls[0] if two_class else None,
        "minority_precision": share(table[0, 0], table[:, 0].sum()) if two_class else None,
        "confusion": table[:, :classes].tolist(),
        **({} if group_is_label or counts.size > MOST_COUNTS else {"group_confusion": counts[:, :, :classes].tolist()}),
        "test_size": int(table.sum()),
    }
