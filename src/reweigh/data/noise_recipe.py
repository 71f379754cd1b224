"""What a recipe's `noise` says of classes, and what goes together in it. It needs no numpy: planning asks too."""

from collections.abc import Mapping
from typing import Any

from reweigh.errors import ConfigError

HETEROSKEDASTIC = "heteroskedastic"


def comes_first(split: Mapping[str, Any]) -> bool:
    """Whether noise is drawn before the imbalance, so that a class has its size by its noisy labels."""
    return bool((split.get("noise") or {}).get("first"))


def check_noise(noise: Mapping[str, Any], classes: int | None = None) -> None:
    """Raise ConfigError for a noise block whose keys do not go together, or one that names a class that is not there.

    `classes`: how many the data set has, None if that is not known.
    """
    groups = noise.get("groups")
    if (noise["kind"] == HETEROSKEDASTIC) != (groups is not None):
        if groups is not None:
            raise ConfigError(f"noise groups go with kind {HETEROSKEDASTIC} only, not {noise['kind']}; leave them out")
        raise ConfigError(f"noise of kind {HETEROSKEDASTIC} needs groups, lists of classes taken for one another")
    named = [k for group in groups or [] for k in group]
    if groups is not None and (not groups or min(map(len, groups)) < 2):
        raise ConfigError(
            f"noise groups {groups}: a class is taken for another of its group; name at least two in each"
        )
    if twice := [k for k in named if named.count(k) > 1]:
        raise ConfigError(f"noise groups {groups}: class {twice[0]} is named twice; name it once")
    for k in named:
        if classes is not None and k not in range(classes):
            raise ConfigError(f"noise groups {groups}: no class {k}; known: 0 to {classes - 1}")


def check_order(split: Mapping[str, Any]) -> None:
    """Raise ConfigError for noise that cannot be drawn first, or of classes that the split renames."""
    noise, kind = split.get("noise") or {}, split["kind"]
    if noise.get("groups") is not None and kind == "two-class":
        raise ConfigError(f"noise of kind {HETEROSKEDASTIC} does not go with kind two-class; use symmetric")
    if not comes_first(split):
        return
    if kind not in ("all", "long-tail", "step"):
        raise ConfigError(f"noise that comes first does not go with kind {kind}; leave 'first' out")
    if split.get("target_size"):
        raise ConfigError(
            "noise that comes first leaves no clean examples for a target set; set target_size to 0, "
            "or leave 'first' out"
        )
