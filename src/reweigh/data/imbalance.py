"""How many training examples each class gets. Here `imbalance_ratio` = largest class / smallest class, at least 1.

Sizes are computed in whole numbers, with the ratio as the fraction that it stands for: 4,900 / 49 are 100, where floats
give 99.99…, rounded down to 99. The exceptions are long tails that are not `exact`, which published sizes depend on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from reweigh.data.noise_recipe import comes_first
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


def long_tail_sizes(largest: int, imbalance_ratio: float, classes: int, rounding: str | None = None) -> list[int]:
    """Sizes of an exponential long tail: `largest * mu**i`, rounded down where `rounding` is None.

    mu = (1 / imbalance_ratio)**(1 / (classes - 1)), so that the last class has `largest / imbalance_ratio`. It has just
    that with "exact", and every class has what the formula says, rounded down (Cao et al., 2019, compute
    i / (classes - 1) first, which gives the same sizes for their tails). Else mu is computed first (TDR's code), and
    its rounding error may cost a class whose size is whole an example: 49 for 50 at 500, ratio 10, 100 classes.
    "ceil" rounds the same floats up, where the error gives such a class one more (41 for 40 at 4,000, ratio 100, 10
    classes), "round" to the nearest whole number, as the code of Li et al. (2021) does for CIFAR-10 and CIFAR-100.

    Raises ConfigError for an impossible ratio, fewer than two classes, or a class left without an example.

    >>> long_tail_sizes(5000, 100, 10, "exact")
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    >>> long_tail_sizes(1000, 100, 10, "ceil")
    [1000, 600, 360, 216, 130, 78, 47, 28, 17, 11]
    """
    return _all_there(_tail(largest, imbalance_ratio, classes, rounding, "largest_class"), imbalance_ratio)


def tail_rounding(split: Mapping[str, Any]) -> str | None:
    """The rounding of a recipe's long tail: what it states, else that of the code whose order it has."""
    return split.get("rounding") or ("exact" if split.get("order") == "legacy" else None)


def validation_tail(split: Mapping[str, Any], classes: int) -> list[int]:
    """Examples of each class in a validation part with a long tail of its own, `validation_largest_class` of a recipe.

    Ratio and rounding are those of the training part; every class has an example at least.
    Raises ConfigError for an impossible ratio, or fewer than two classes.

    >>> sum(validation_tail({"validation_largest_class": 100, "imbalance_ratio": 100, "rounding": "round"}, 100))
    2180
    """
    largest, ratio = split["validation_largest_class"], split["imbalance_ratio"]
    sizes = _tail(largest, ratio, classes, tail_rounding(split), "validation_largest_class")
    return [max(size, 1) for size in sizes]


def holds_out(split: Mapping[str, Any]) -> bool:
    """Whether a recipe has a validation part."""
    return any(split.get(key) for key in ("validation_size", "validation_share", "validation_largest_class"))


def check_held_out(split: Mapping[str, Any]) -> None:
    """Raise ConfigError for keys of a recipe's validation part that do not go together, or would never act."""
    share, largest = split.get("validation_share"), split.get("validation_largest_class")
    if (bool(split.get("validation_size")) + (share is not None) + (largest is not None)) > 1:
        raise ConfigError(
            "validation_size, validation_share and validation_largest_class are ways to the same part; use one of them"
        )
    if split.get("validation_rounding") and share is None:
        raise ConfigError("validation_rounding is that of validation_share, which is not there; leave it out")
    if largest is None:
        if split.get("validation_inside"):
            raise ConfigError("validation_inside needs validation_largest_class; set it, or leave both out")
        return
    if split["kind"] != "long-tail":
        raise ConfigError(f"validation_largest_class does not go with kind {split['kind']}; use validation_share")
    if split.get("noise"):
        raise ConfigError("validation_largest_class does not go with noise; use validation_share")
    if split["target_size"] and split.get("target_inside"):
        raise ConfigError("validation_largest_class does not go with target_inside; use validation_size")


def check_whole(split: Mapping[str, Any]) -> None:
    """Raise ConfigError for a recipe whose noise is drawn for all training examples, but which does not keep them all.

    That is noise of kind "instance" (see `reweigh.data.instance_noise`) unless it comes first, before anything is taken
    out. What `validation_share` holds out is no obstacle: it goes after the noise is drawn.
    """
    if (split.get("noise") or {}).get("kind") != "instance" or comes_first(split):
        return
    whole = "noise of kind instance is drawn for the whole training part"
    if split["kind"] != "all":
        raise ConfigError(f"{whole}, and kind {split['kind']} keeps a part of it; use kind all")
    if split.get("validation_size"):
        raise ConfigError(f"{whole}, and validation_size takes examples out of it; use validation_share")
    if split["target_size"] and not split.get("target_inside"):
        raise ConfigError(f"{whole}, and target_size takes examples out of it; set target_inside, or target_size to 0")
    if not split["noise"]["rate"]:
        raise ConfigError("noise of kind instance with rate 0 would change labels all the same; leave noise out")


def held_out_all(split: Mapping[str, Any], sizes: Sequence[int | None], held_out: Sequence[int]) -> int | None:
    """The first class of which `validation_inside` would hold every example out; None if there is none."""
    if not split.get("validation_inside"):
        return None
    return next((k for k, (size, held) in enumerate(zip(sizes, held_out, strict=True)) if (size or 0) <= held), None)


def step_sizes(largest: int, imbalance_ratio: float, classes: int, rare: Sequence[int] | None = None) -> list[int]:
    """Sizes of a step: `largest / imbalance_ratio`, rounded down, in the rare classes, `largest` in the others.

    The step imbalance of Buda et al. (2018). Without `rare` as Cao et al. (2019) build it, all but the first
    `classes // 2` are rare. Raises ConfigError for an impossible ratio, fewer than two classes, rare classes that
    cannot be, or a class left without an example.

    >>> step_sizes(5000, 100, 4)
    [5000, 5000, 50, 50]
    >>> step_sizes(4900, 49, 2)
    [4900, 100]
    >>> step_sizes(5000, 10, 4, [1, 3])
    [5000, 500, 5000, 500]
    """
    if classes < 2:
        raise ConfigError(f"a step needs at least 2 classes, not {classes}")
    check_rare(rare, classes)
    smallest = math.floor(_counted(largest, "largest_class") / fraction(imbalance_ratio))
    few = range(classes // 2, classes) if rare is None else rare
    return _all_there([smallest if k in few else largest for k in range(classes)], imbalance_ratio)


def check_rare(rare: Sequence[int] | None, classes: int | None = None) -> None:
    """Raise ConfigError for `rare` classes of a step that are not there, named twice, none, or all of `classes`."""
    if rare is None:
        return
    if not rare or len(set(rare)) < len(rare):
        raise ConfigError(f"rare {list(rare)}: name at least one class, and each once")
    if classes is not None and (unknown := [k for k in rare if k not in range(classes)]):
        raise ConfigError(f"rare {list(rare)}: no class {unknown[0]}; known: 0 to {classes - 1}")
    if classes is not None and len(rare) == classes:
        raise ConfigError(f"rare names all {classes} classes, and none is left to be common; leave some out")


def heads(split: Mapping[str, Any], classes: int) -> list[int]:
    """The classes of a long tail or a step that have `largest_class` examples. Raises ConfigError as `check_rare`."""
    check_rare(split.get("rare"), classes)
    if split["kind"] == "long-tail":
        return [0]
    if split.get("rare"):
        return [k for k in range(classes) if k not in split["rare"]]
    return list(range(max(classes // 2, 1)))


def class_sizes(split: Mapping[str, Any], largest: int, classes: int) -> list[int]:
    """The sizes of a recipe's long tail or step that starts at `largest`; errors as those of either."""
    asked = largest, split["imbalance_ratio"], classes
    if split["kind"] == "step":
        return step_sizes(*asked, split.get("rare"))
    return long_tail_sizes(*asked, tail_rounding(split))


def largest_that_fits(split: Mapping[str, Any], available: Sequence[int]) -> int:
    """The largest `largest_class` of a recipe's long tail or step that classes with so many examples allow; 0 if none.

    >>> largest_that_fits({"kind": "step", "imbalance_ratio": 10, "rare": [0]}, [30, 500])
    309
    """
    low, high = 0, max(available)
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(split, middle, available, if_empty=True):
            low = middle
        else:
            high = middle - 1
    return low if _fits(split, low, available, if_empty=False) else 0


def _fits(split: Mapping[str, Any], largest: int, available: Sequence[int], if_empty: bool) -> bool:
    """Whether classes with so many examples allow a `largest_class`; `if_empty`: what to say if one would have none."""
    try:
        sizes = class_sizes(split, largest, len(available))
    except ConfigError:
        return if_empty
    return all(size <= most for size, most in zip(sizes, available, strict=True))


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


def _tail(largest: int, imbalance_ratio: float, classes: int, rounding: str | None, name: str) -> list[int]:
    """The sizes of `long_tail_sizes`, in which a class may be left without an example; `name` is what errors say."""
    if classes < 2:
        raise ConfigError(f"a long tail needs at least 2 classes, not {classes}")
    _checked(imbalance_ratio), _counted(largest, name)
    if rounding == "exact":
        ratio = fraction(imbalance_ratio)
        return [_tail_size(largest, ratio, i, classes - 1) for i in range(classes)]
    mu = (1 / imbalance_ratio) ** (1 / (classes - 1))
    ways: dict[str | None, Callable[[float], int]] = {None: math.floor, "ceil": math.ceil, "round": round}
    whole = ways[rounding]
    return [whole(largest * mu**i) for i in range(classes)]


def _all_there(sizes: list[int], imbalance_ratio: float) -> list[int]:
    if empty := [k for k, size in enumerate(sizes) if size < 1]:
        raise ConfigError(f"imbalance_ratio {imbalance_ratio:g} leaves no example of class {empty[-1]}; lower it")
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
