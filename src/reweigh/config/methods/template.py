"""The card of the template: what the rest must know of a method. `reweigh new method NAME` begins from this file."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import Card
from reweigh.config.methods.base import Loss
from reweigh.config.specs import Frozen


class Options(Frozen):
    gamma: Annotated[float, Field(gt=0, le=1)]
    loss: Loss


CARD = Card(
    options=Options,
    # What the automatic tests train it with: one for each thing that its step can do.
    examples=(
        {"gamma": 0.5, "loss": None},
        {"gamma": 1.0, "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": False}},
    ),
    # Which way the weight of an example goes as its loss grows; the tests measure it. See `Card` for the other fields.
    follows=lambda options: {"loss": 1},
)
