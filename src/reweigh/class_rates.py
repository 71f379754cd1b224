"""What counts by class say beside accuracy: macro-F1, and how many of the rarest class are found."""

from collections.abc import Mapping
from typing import Any


def macro_f1(body: Mapping[str, Any]) -> float | None:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN), of the held-out part.

    A class that has no example there and is never predicted does not count. None for a record that has no counts, or
    of which an example has no prediction.

    >>> macro_f1({"metrics": {"confusion": [[8, 2], [1, 1]], "test_size": 12}})  # (16/19 + 2/5) / 2
    0.6210526315789473
    """
    found = body["metrics"]
    table, sizes = found.get("confusion"), [value for name, value in found.items() if name.endswith("_size")]
    if table is None or (sizes and sum(map(sum, table)) != sizes[0]):
        return None
    labels = range(len(table))
    named = [sum(table[label]) + sum(row[label] for row in table) for label in labels]  # 2 TP + FP + FN
    scores = [2 * table[label][label] / named[label] for label in labels if named[label]]
    return sum(scores) / len(scores) if scores else None


def rarest_recall(body: Mapping[str, Any]) -> float | None:
    """The recall of the class with the fewest training examples; the mean where several have as few.

    None where all classes are of one size, or where one of the rarest has no example to be found.

    >>> rarest_recall({"metrics": {"per_class_accuracy": [0.9, 0.2]}, "split": {"sizes": {"train": [50, 5]}}})
    0.2
    """
    sizes = body.get("split", {}).get("sizes", {}).get("train", [])
    recalls = body["metrics"].get("per_class_accuracy") or []
    if len(set(sizes)) < 2 or len(recalls) != len(sizes):
        return None
    rarest = [recalls[label] for label, size in enumerate(sizes) if size == min(sizes)]
    return None if None in rarest else sum(rarest) / len(rarest)
