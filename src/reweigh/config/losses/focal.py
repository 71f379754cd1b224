"""The card of the focal loss."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    gamma: Annotated[float, Field(ge=0)]
    weight_leaks: bool


CARD = LossCard(
    options=Options,
    examples=(
        {"gamma": 2.0, "weight_leaks": False},
        {"gamma": 0.5, "weight_leaks": True},
    ),
)
