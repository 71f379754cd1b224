"""How many training examples each class gets. Here `imbalance_ratio` = largest class / smallest class, at least 1.

Sizes are computed in whole numbers, with the ratio as the fraction that it stands for: 4,900 / 49 are 100, where floats
give 99.99…, rounded down to 99. The one exception is a long tail that is not `exact`, which published sizes depend on.
"""

import math
from fractions import Fraction

from reweigh.errors import ConfigError

LARGEST_DENOMINATOR = 10_000  # of fractions that a ratio is taken for; a share rho of four digits is one over it


def two_class_sizes(total: int, imbalance_ratio: float) -> tuple[int, int]:
    """Sizes (minority, majority) of a two-class set of about `total` examples, both rounded down.

    With rho = 1 / imbalance_ratio: majority = total / (1 + rho), minority = rho * majority (TDR, section 4.1.1), where
    the majority is the rounded one, as in TDR's code.
    Raises ConfigError for an impossible ratio, or one that leaves the minority without an example.

    >>> two_class_sizes(1000, 9.0)
    (100, 900)
    """
    ratio = fraction(imbalance_ratio)
    majority = math.floor(_counted(total, "total") * ratio / (1 + ratio))
    minority = math.floor(majority / ratio)
    if minority < 1:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no minority example among {total}; lower it")
    return minority, majority


def long_tail_sizes(largest: int, imbalance_ratio: float, classes: int, exact: bool = False) -> list[int]:
    """Sizes of an exponential long tail: `largest * mu**i`, rounded down.

    mu = (1 / imbalance_ratio)**(1 / (classes - 1)), so that the last class has `largest / imbalance_ratio`. It has just
    that with `exact`, and every class has what the formula says (Cao et al., 2019, compute i / (classes - 1) first,
    which gives the same sizes for their tails). Else mu is computed first (TDR's code), and its rounding error may cost
    a class whose size is whole an example: 49 for 50 at 500, ratio 10, 100 classes.

    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.

    >>> long_tail_sizes(5000, 100, 10, exact=True)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if classes < 2:
        raise ConfigError(f"a long tail needs at least 2 classes, not {classes}")
    _checked(imbalance_ratio), _counted(largest, "largest_class")
    if exact:
        ratio = fraction(imbalance_ratio)
        sizes = [_tail_size(largest, ratio, i, classes - 1) for i in range(classes)]
    else:
        mu = (1 / imbalance_ratio) ** (1 / (classes - 1))
        sizes = [int(largest * mu**i) for i in range(classes)]
    return _all_there(sizes, imbalance_ratio)


def step_sizes(largest: int, imbalance_ratio: float, classes: int) -> list[int]:
    """Sizes of a step: `largest` in the first `classes // 2`, `largest / imbalance_ratio`, rounded down, in the others.

    The step imbalance of Buda et al. (2018) as Cao et al. (2019) build it, with half of the classes in the minority.
    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.

    >>> step_sizes(5000, 100, 4)
    [5000, 5000, 50, 50]
    >>> step_sizes(4900, 49, 2)
    [4900, 100]
    """
    if classes < 2:
        raise ConfigError(f"a step needs at least 2 classes, not {classes}")
    smallest = math.floor(_counted(largest, "largest_class") / fraction(imbalance_ratio))
    majority = classes // 2
    return _all_there([largest] * majority + [smallest] * (classes - majority), imbalance_ratio)


def fraction(imbalance_ratio: float) -> Fraction:
    """The number that a ratio was written as: 10/3 or 1/0.3 as 10/3, though no float is; 0.29 of anything as 29/100.

    That is a fraction of small numbers as near to the float as two roundings leave it; if there is none, the shortest
    decimal number that gives the float. Raises ConfigError for an impossible ratio.

    >>> fraction(10 / 3), fraction(1 / 0.005), fraction(2.5), fraction(1.23456789)
    (Fraction(10, 3), Fraction(200, 1), Fraction(5, 2), Fraction(123456789, 100000000))
    """
    ratio = _checked(imbalance_ratio)
    exact = Fraction(ratio)
    simple = exact.limit_denominator(LARGEST_DENOMINATOR)
    return simple if abs(simple - exact) <= exact / 2**52 else Fraction(str(ratio))


def _tail_size(largest: int, ratio: Fraction, place: int, last: int) -> int:
    """`largest / ratio**(place / last)`, rounded down: the largest n with n**last * ratio**place <= largest**last.

    The float is close to it, and whole numbers decide.
    """
    p, q = ratio.numerator**place, largest**last * ratio.denominator**place
    size = int(largest * float(ratio) ** (-place / last))
    while size**last * p > q:
        size -= 1
    while (size + 1) ** last * p <= q:
        size += 1
    return size


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
