"""How many training examples each class gets. Here `imbalance_ratio` = largest class / smallest class, at least 1."""

import math

from reweigh.errors import ConfigError


def two_class_sizes(total: int, imbalance_ratio: float) -> tuple[int, int]:
    """Sizes (minority, majority) of a two-class set of about `total` examples, both rounded down.

    With rho = 1 / imbalance_ratio: majority = total / (1 + rho), minority = rho * majority (TDR, section 4.1.1).
    Raises ConfigError for an impossible ratio, or one that leaves the minority without an example.
    """
    rho = 1 / _checked(imbalance_ratio)
    majority = int(_counted(total, "total") / (1 + rho))
    minority = int(majority * rho)
    if minority < 1:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no minority example among {total}; lower it")
    return minority, majority


def long_tail_sizes(largest: int, imbalance_ratio: float, classes: int) -> list[int]:
    """Sizes of an exponential long tail: `largest * mu**i`, rounded down.

    mu = (1 / imbalance_ratio)**(1 / (classes - 1)), so that the last class has `largest / imbalance_ratio`.

    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.
    """
    if classes < 2:
        raise ConfigError(f"a long tail needs at least 2 classes, not {classes}")
    mu = (1 / _checked(imbalance_ratio)) ** (1 / (classes - 1))
    sizes = [int(_counted(largest, "largest_class") * mu**i) for i in range(classes)]
    if min(sizes) < 1:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no example of class {classes - 1}; lower it")
    return sizes


def _checked(imbalance_ratio: float) -> float:
    if not (math.isfinite(imbalance_ratio) and imbalance_ratio >= 1):
        raise ConfigError(
            f"imbalance_ratio {imbalance_ratio} is impossible: it is largest / smallest class, a number of at least 1"
        )
    return float(imbalance_ratio)


def _counted(count: int, name: str) -> int:
    if count < 1:
        raise ConfigError(f"{name} {count} is impossible: it counts training examples, so it is at least 1")
    return count
