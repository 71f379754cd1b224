"""Groups of examples: who belongs to which class or group, and shares of them. It needs no numpy: planning asks too."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reweigh.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def by_attribute(split: Mapping[str, Any]) -> bool:
    """Whether the weights of a split (the `split` block of a spec) are by the data set's own groups, and not by class.

    >>> by_attribute({"kind": "groups"}), by_attribute({"kind": "groups", "weights_by": "class"})
    (True, False)
    """
    return bool((split.get("weights_by") or ("group" if split["kind"] == "groups" else "class")) == "group")


def members(values: "np.ndarray", kept: Sequence[int]) -> "list[np.ndarray]":
    """For each kept value of a class or group array `(N,)`, the positions that have it, in file order."""
    return [(values == value).nonzero()[0] for value in kept]


def even_share(total: int, groups: int, name: str) -> int:
    """How many examples of `total` each of `groups` classes or groups gets. Raises ConfigError if that is not whole."""
    if total < 0 or total % groups:
        raise ConfigError(
            f"{name} {total} cannot be shared evenly over {groups} classes or groups; use a multiple of {groups}"
        )
    return total // groups


def part_of(count: int, share: float, rounding: str | None = None) -> int:
    """`share` of `count` examples, rounded down. The share counts as the decimal number it is written as.

    So 0.29 of 100 are 29, though the float nearest to 0.29 is a little less. With `rounding` "up" it is rounded up, so
    that at least one is taken, and at least one is left: the one of two, none of one.

    >>> part_of(1280, 0.2, "up"), part_of(7, 0.2, "up"), part_of(2, 0.9, "up"), part_of(1, 0.2, "up")
    (256, 2, 1, 0)
    """
    exact = Fraction(str(share)) * count
    return math.floor(exact) if rounding is None else max(min(math.ceil(exact), count - 1), 0)
