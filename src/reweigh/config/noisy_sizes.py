"""Noise as the config knows it: where its kinds are defined, and how many examples it leaves each noisy label."""

import math
from typing import Any

from reweigh.config.known_sizes import ASYMMETRIC, INSTANCE, called, sizes_of
from reweigh.data import imbalance
from reweigh.data.noise_recipe import HETEROSKEDASTIC, check_noise, check_order, comes_first
from reweigh.errors import ConfigError

DEVIATIONS = 5  # a normal number is farther off once in three million draws


def check(data: dict[str, Any], where: str) -> None:
    """Raise ConfigError for noise that a spec's `data` block cannot be given."""
    split = data["split"]
    if (noise := split.get("noise")) is None:
        return
    if split["kind"] == "groups":
        raise ConfigError(f"{where}: noise does not go with kind groups, whose groups are not the labels; use all")
    try:
        imbalance.check_whole(split)
        check_order(split)
        check_noise(noise, sizes_of(data).classes)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    known = ("symmetric", *(ASYMMETRIC.get(data["dataset"], ()) if split["kind"] != "two-class" else ()))
    if data["dataset"] in INSTANCE:
        known = (*known, "instance")
    if noise["kind"] not in (*known, HETEROSKEDASTIC, "agnostic"):
        which = f"two classes of {called(data)}" if split["kind"] == "two-class" else called(data)
        raise ConfigError(f"{where}: noise kind {noise['kind']} is not defined for {which}; use {' or '.join(known)}")


def unsettled(split: dict[str, Any]) -> bool:
    """Whether the sizes of noisy classes depend on the draw: not where noise comes first and sizes are asked for."""
    return bool(split.get("noise")) and not (comes_first(split) and split["kind"] in ("long-tail", "step"))


def left(data: dict[str, Any], sizes: list[int]) -> list[int]:
    """Examples of each class that a split can be sure to draw from classes of these `sizes`, noise first or not.

    The examples with a noisy label are a sum of draws, each of which is known in distribution: as many as one run in
    millions falls short of. Where all runs have the same noise they are known once drawn, and may be as many above
    the mean. Kinds of noise whose draws depend on one another are not computed: any number is taken to be there.
    """
    noise = data["split"].get("noise")
    if not comes_first(data["split"]):
        return sizes
    if noise["kind"] not in (HETEROSKEDASTIC, "agnostic"):
        return [sum(sizes)] * len(sizes)
    same = noise.get("seed") is not None or data["split"].get("fixed_seed") is not None
    groups = noise.get("groups") or [list(range(len(sizes)))]
    found = list(sizes)
    for group in groups:
        stay, move = 1 - noise["rate"], noise["rate"] / (len(group) - 1)
        for k in group:
            others = sum(sizes[other] for other in group if other != k)
            mean = sizes[k] * stay + others * move
            spread = DEVIATIONS * math.sqrt(sizes[k] * stay * (1 - stay) + others * move * (1 - move))
            found[k] = min(math.floor(mean + spread), sizes[k] + others) if same else max(math.ceil(mean - spread), 0)
    return found
