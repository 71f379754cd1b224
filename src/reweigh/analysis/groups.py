"""What a record says of each group of its test examples, such as women and men."""

from typing import Any

ACCURACY, RECALL = "per_group_accuracy", "per_group_recall"
PER_GROUP = (ACCURACY, RECALL)


def of_group(body: dict[str, Any], metric: str, group: int, positive: int = 1) -> float | None:
    """A metric of one group after the last epoch of a run; None for one that diverged, or that did not store it.

    `per_group_recall` is the share of the group's examples of class `positive` that are found: its true positive rate.
    It needs the confusion matrix of each group (groups, labels, predictions), which old records lack.
    """
    if body["status"] != "finished":
        return None
    if metric == ACCURACY:
        shares = body["metrics"].get(ACCURACY)
        return None if shares is None else float(shares[group])
    tables = body["metrics"].get("group_confusion")
    found = None if tables is None else tables[group][positive]
    return found[positive] / sum(found) if found and sum(found) else None
