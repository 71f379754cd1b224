"""What counts by group say: true positive rates, and how far those of the groups lie apart.

A run whose groups are not its labels (Adult: sex) states `group_confusion`, counts (groups, labels, predictions). Of
two labels the second is the positive one: on Adult an income above 50K.
"""

from collections.abc import Mapping
from typing import Any

POSITIVE = 1  # label


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


def group_rates(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """`equal_opportunity_gap`, the largest difference of two true positive rates, and `worst_group_tpr`, the smallest.

    None where the rates are not known.
    """
    rates = true_positive_rates(metrics)
    return {
        "equal_opportunity_gap": max(rates) - min(rates) if rates else None,
        "worst_group_tpr": min(rates) if rates else None,
    }
