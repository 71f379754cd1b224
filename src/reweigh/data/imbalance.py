"""How many training examples each class gets. Here `imbalance_ratio` = largest class / smallest class, at least 1."""

import math

from reweigh.errors import ConfigError


def two_class_sizes(total: int, imbalance_ratio: float) -> tuple[int, int]:
    """Sizes (minority, majority) of a two-class set of about `total` examples, both rounded down.

    With rho = 1 / imbalance_ratio: majority = total / (1 + rho), minority = rho * majority (TDR, section 4.1.1).
    Raises ConfigError for an impossible ratio, or one that leaves the minority without an example.

    >>> two_class_sizes(1000, 9.0)
    (100, 900)
    """
    rho = 1 / _checked(imbalance_ratio)
    majority = int(_counted(total, "total") / (1 + rho))
    minority = int(majority * rho)
    if minority < 1:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no minority example among {total}; lower it")
    return minority, majority


def long_tail_sizes(largest: int, imbalance_ratio: float, classes: int, exact: bool = False) -> list[int]:
    """Sizes of an exponential long tail: `largest * mu**i`, rounded down.

    mu = (1 / imbalance_ratio)**(1 / (classes - 1)), so that the last class has `largest / imbalance_ratio`. It has just
    that with `exact`, as the exponent i / (classes - 1) is computed first (Cao et al., 2019). Else mu is (TDR's code),
    and its rounding error may cost a class whose size is whole an example: 49 for 50 at 500, ratio 10, 100 classes.

    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.

    >>> long_tail_sizes(5000, 100, 10, exact=True)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if classes < 2:
        raise ConfigError(f"a long tail needs at least 2 classes, not {classes}")
    rho = 1 / _checked(imbalance_ratio)
    mu = rho ** (1 / (classes - 1))
    shares = [rho ** (i / (classes - 1)) if exact else mu**i for i in range(classes)]
    sizes = [int(_counted(largest, "largest_class") * share) for share in shares]
    return _all_there(sizes, imbalance_ratio)


def step_sizes(largest: int, imbalance_ratio: float, classes: int) -> list[int]:
    """Sizes of a step: `largest` in the first `classes // 2`, `largest / imbalance_ratio`, rounded down, in the others.

    The step imbalance of Buda et al. (2018) as Cao et al. (2019) build it, with half of the classes in the minority.
    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.

    >>> step_sizes(5000, 100, 4)
    [5000, 5000, 50, 50]
    """
    if classes < 2:
        raise ConfigError(f"a step needs at least 2 classes, not {classes}")
    smallest = int(_counted(largest, "largest_class") * (1 / _checked(imbalance_ratio)))
    majority = classes // 2
    return _all_there([largest] * majority + [smallest] * (classes - majority), imbalance_ratio)


def _all_there(sizes: list[int], imbalance_ratio: float) -> list[int]:
    if min(sizes) < 1:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no example of class {len(sizes) - 1}; lower it")
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
