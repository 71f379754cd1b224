"""The card of symmetric cross-entropy."""

from typing import Annotated

from pydantic import Field, model_validator

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    alpha: Annotated[float, Field(ge=0)]
    beta: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _is_a_loss(self) -> "Options":
        if not self.alpha and not self.beta:
            raise ValueError("alpha and beta are both 0, which leaves no loss")
        return self


CARD = LossCard(options=Options, examples=({"alpha": 0.3, "beta": 2.0},))
