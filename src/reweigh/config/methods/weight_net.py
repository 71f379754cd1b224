"""Options of methods with a network of weights; see `reweigh.methods.weight_net`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config.cards import Options, Sign
from reweigh.config.methods.meta_set import MetaSet
from reweigh.config.specs import Decay, Frozen, Positive, Rate


class AdamOptions(Frozen):
    name: Literal["adam"]
    learning_rate: Rate
    weight_decay: Decay


class SgdOptions(Frozen):
    name: Literal["sgd"]
    learning_rate: Rate
    weight_decay: Decay
    momentum: Annotated[float, Field(gt=0, lt=1)]
    nesterov: bool


class WeightNetOptions(Frozen):
    meta_set: MetaSet
    hidden: Positive
    optimiser: Annotated[AdamOptions | SgdOptions, Field(discriminator="name")]


# For the tests of each method; the code of Meta-Weight-Net has this Adam.
ADAM: dict[str, Any] = {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-4}
SGD: dict[str, Any] = {
    "name": "sgd", "learning_rate": 1e-3, "weight_decay": 5e-4, "momentum": 0.9, "nesterov": True,
}  # fmt: skip


def learned(options: Options, *what: str) -> dict[str, Sign]:
    """What weights follow of which the network decides the way: these things, and the target set if that teaches it."""
    return dict.fromkeys([*what, *(["target"] if options["meta_set"] == "target" else [])])


def traces(options: Options, steps: int) -> set[str]:
    """The spread of the weights at each step in which the network learns."""
    return {"weight_sd"} if steps else set()
