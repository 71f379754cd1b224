"""What goes together in a resolved spec, beyond the shape of each key: rules on plain dictionaries.

The models of `config.specs` hold to them, and so does what trains (`training/spec_check.py`), where there is no
pydantic. Each rule raises ConfigError.
"""

import math
from collections.abc import Mapping
from typing import Any

from reweigh.data.imbalance import check_held_out, check_rare, check_whole, holds_out
from reweigh.data.noise_recipe import check_noise, check_order
from reweigh.errors import ConfigError

Block = Mapping[str, Any]
LEGACY_SEEDS = 2**32  # NumPy's old generator takes seeds below this


def check(spec: Block) -> None:
    """All rules, for a spec whose keys have the right shapes."""
    data, training = spec["data"], spec["training"]
    check_split(data["split"])
    if data["split"].get("noise"):
        check_noise(data["split"]["noise"])
    if isinstance(data["scale_inputs"], Mapping):
        check_moments(data["scale_inputs"])
    check_milestones(training["schedule"])
    check_training(training)
    check_parts(spec)


def check_split(split: Block) -> None:
    """The parts of a split."""
    check_held_out(split)
    check_whole(split)
    check_order(split)
    check_rare(split.get("rare"))


def check_moments(moments: Block) -> None:
    """As many means as standard deviations."""
    mean, std = len(moments["mean"]), len(moments["std"])
    if mean != std:
        raise ConfigError(f"mean has {mean} values and std {std}; give one of each per channel")


def check_milestones(schedule: Block) -> None:
    """The milestones of a schedule in steps; others have none."""
    if schedule["name"] != "step":
        return
    milestones, factor = schedule["milestones"], schedule["factor"]
    if sorted(set(milestones)) != list(milestones):
        raise ConfigError(f"milestones must rise, are {milestones}")
    if len(milestones) * math.log10(factor) > 30:
        raise ConfigError(
            f"factor {factor:g} at each of {len(milestones)} milestones lets the learning rate overflow; lower it"
        )


def check_warmup(schedule: Block, epochs: int) -> None:
    """A warm-up takes less than all of `epochs`, else little or nothing is trained at the rate itself.

    So for a word about a warm-up that there is not.
    """
    if schedule.get("warmup_by") and not schedule["warmup_epochs"]:
        raise ConfigError("schedule.warmup_by says how the rate warms up, but warmup_epochs is 0; leave it out")
    if schedule["warmup_epochs"] >= epochs:
        raise ConfigError(
            f"schedule.warmup_epochs is {schedule['warmup_epochs']}, but there are only {epochs} epochs; lower it"
        )


def check_training(training: Block) -> None:
    """The training block."""
    if training["nesterov"] and not training["momentum"]:
        raise ConfigError("nesterov needs a momentum above 0")
    check_warmup(training["schedule"], training["epochs"])
    also = training.get("also_measure") or []
    if len(set(also)) < len(also) or training.get("evaluate_on") in also:
        raise ConfigError(f"also_measure names a part that is measured already: {', '.join(also)}")


def check_parts(spec: Block) -> None:
    """What a spec asks of its split."""
    training, split, seed = spec["training"], spec["data"]["split"], spec["seed"]
    measured = (training.get("evaluate_on"), *(training.get("also_measure") or []))
    if "validation" in measured and not holds_out(split):
        raise ConfigError("training measures validation, but data.split holds nothing out; set validation_size")
    if split["order"] == "legacy" and split.get("fixed_seed") is None and seed >= LEGACY_SEEDS:
        raise ConfigError(f"data.split.order legacy takes seeds below {LEGACY_SEEDS}, not {seed}; use a smaller one")
    if split["kind"] != "two-class":
        return
    if split["classes"][0] == split["classes"][1]:
        raise ConfigError(f"data.split.classes must be two classes, are {split['classes']}")
    if split["total"] < training["batch_size"]:
        raise ConfigError(f"data.split.total is {split['total']}, less than one batch of {training['batch_size']}")
