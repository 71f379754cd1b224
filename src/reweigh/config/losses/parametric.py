"""The card of the parametric cross-entropy: logit adjustment, CDT and VS."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    tau: Annotated[float, Field(ge=0)]
    gamma: Annotated[float, Field(ge=0)]


CARD = LossCard(
    options=Options,
    examples=({"tau": 1.0, "gamma": 0.0}, {"tau": 0.0, "gamma": 0.3}, {"tau": 1.2, "gamma": 0.2}),
)
