"""What counts by group say: true positive rates, errors of cells, and how far those of the groups lie apart.

A run on data that have groups of their own states `per_group_accuracy`, and `group_confusion`, counts (groups, labels,
predictions). A cell is a class within a group: on Adult (groups: sexes) each group has two cells; on Waterbirds the
groups are the four cells of class and place themselves, so that each has one. Both are read in the same way.

Of two labels the second is the positive one: on Adult an income above 50K.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

POSITIVE = 1  # label


class Cell(NamedTuple):
    """A class within a group: its test examples, the share of them that is wrong, and the share of training examples.

    `train_share` is of training and validation part together; None where a record cannot say (see `cells`).
    """

    group: int
    label: int
    examples: int
    error: float
    train_share: float | None


def worst_group_accuracy(body: Mapping[str, Any]) -> float | None:
    """The smallest accuracy within a group that is tested; None where a record has none by group.

    >>> worst_group_accuracy({"metrics": {"per_group_accuracy": [0.9, None, 0.7]}})
    0.7
    """
    tested = [share for share in body["metrics"].get("per_group_accuracy") or () if share is not None]
    return min(tested, default=None)


def true_positive_rates(metrics: Mapping[str, Any]) -> list[float] | None:
    """Of each group, the share of its positive examples that were found; None where a record cannot say.

    It cannot if it has no counts by group, other than two labels, or a group without a positive example.

    >>> true_positive_rates({"group_confusion": [[[90, 10], [4, 6]], [[50, 10], [4, 36]]]})
    [0.6, 0.9]
    """
    tables = metrics.get("group_confusion")
    if not tables or any(len(table) != 2 or not sum(table[POSITIVE]) for table in tables):
        return None
    return [table[POSITIVE][POSITIVE] / sum(table[POSITIVE]) for table in tables]


def equal_opportunity_gap(body: Mapping[str, Any]) -> float | None:
    """The largest difference of two groups' true positive rates."""
    rates = true_positive_rates(body["metrics"])
    return max(rates) - min(rates) if rates else None


def worst_group_tpr(body: Mapping[str, Any]) -> float | None:
    """The smallest true positive rate of a group."""
    rates = true_positive_rates(body["metrics"])
    return min(rates) if rates else None


def cells(body: Mapping[str, Any]) -> list[Cell] | None:
    """The cells of a record, by class and then by group; None if it has no counts by group or lacks a cell.

    It lacks one where classes are tested in different numbers of groups. A record counts training examples by group, so
    the share of a cell is known where each group has one class only.
    """
    tables = body["metrics"].get("group_confusion")
    if not tables:
        return None
    sizes = [[sum(row) for row in table] for table in tables]  # (groups, labels)
    labels = range(len(sizes[0]))
    if len({sum(row[label] > 0 for row in sizes) for label in labels}) != 1:
        return None
    shares = _train_shares(body.get("group_sizes"), sizes)
    found = [
        Cell(group, label, row[label], (row[label] - tables[group][label][label]) / row[label], shares[group])
        for label in labels
        for group, row in enumerate(sizes)
        if row[label]
    ]
    return found or None


def _train_shares(counted: Mapping[str, Sequence[int]] | None, sizes: list[list[int]]) -> list[float | None]:
    """The share of each group in training and validation part together; None where its cells share it."""
    unknown: list[float | None] = [None] * len(sizes)
    if not counted or any(sum(count > 0 for count in row) != 1 for row in sizes):
        return unknown
    totals = [train + held for train, held in zip(counted["train"], counted["validation"], strict=True)]
    return [total / sum(totals) for total in totals] if sum(totals) else unknown


def group_balanced_error(body: Mapping[str, Any]) -> float | None:
    """E_bal^G of AutoBalance (§4): the mean error of the cells."""
    found = cells(body)
    return sum(cell.error for cell in found) / len(found) if found else None


def worst_class_group_error(body: Mapping[str, Any]) -> float | None:
    """The largest error of a cell."""
    found = cells(body)
    return max(cell.error for cell in found) if found else None


def group_accuracies(body: Mapping[str, Any]) -> list[float] | None:
    """The accuracy of each group: of the cells of class and attribute, or of the classes where these are the groups.

    Classes without a test example are left out. None where a record cannot say.

    >>> group_accuracies({"metrics": {"per_class_accuracy": [0.9, None, 0.5]}})
    [0.9, 0.5]
    """
    if body["metrics"].get("group_confusion"):
        found = cells(body)
        return [1 - cell.error for cell in found] if found else None
    return [recall for recall in body["metrics"].get("per_class_accuracy") or [] if recall is not None] or None


def mean_group_accuracy(body: Mapping[str, Any]) -> float | None:
    """The mean of the groups' accuracies, each group counting alike."""
    found = group_accuracies(body)
    return sum(found) / len(found) if found else None


def worst_cell_accuracy(body: Mapping[str, Any]) -> float | None:
    """The least of these accuracies: of a cell of class and attribute, or of a class."""
    found = group_accuracies(body)
    return min(found) if found else None


def deo_error(body: Mapping[str, Any]) -> float | None:
    """E_deo of AutoBalance (§4): Σ_k |E_{k,1} − E_{k,2}| over the classes; None for other than two groups a class."""
    found = cells(body)
    if not found or len(found) != 2 * len({cell.label for cell in found}):
        return None
    return sum(abs(first.error - second.error) for first, second in zip(found[::2], found[1::2], strict=True))


def standard_error_train_shares(body: Mapping[str, Any]) -> float | None:
    """E of AutoBalance (§4): the errors of the cells, weighted by their shares of the training examples.

    >>> counts = {"group_confusion": [[[9, 1], [0, 0]], [[0, 0], [2, 2]]]}
    >>> body = {"metrics": counts, "group_sizes": {"train": [30, 5], "validation": [30, 15]}}
    >>> round(standard_error_train_shares(body), 3)  # 0.75 · 0.1 + 0.25 · 0.5
    0.2
    """
    found = cells(body)
    if not found or any(cell.train_share is None for cell in found):
        return None
    return sum(cell.train_share * cell.error for cell in found if cell.train_share is not None)
