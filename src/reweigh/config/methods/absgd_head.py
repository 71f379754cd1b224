"""The card of ABSGD as a second stage."""

from typing import Annotated

from pydantic import Field, model_validator

from reweigh.config.cards import Card
from reweigh.config.methods import absgd
from reweigh.config.methods.two_stage import SECOND, STAGE_ONE, TwoStageOptions, prefix, stages


class Options(TwoStageOptions):
    lambda_: float
    gamma: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0)]
    uniform: bool

    @model_validator(mode="after")
    def _has_weights(self) -> "Options":
        if not self.lambda_:
            raise ValueError("a lambda of 0 has no weights")
        return self


CARD = Card(
    options=Options,
    examples=(
        {
            "stage_one": STAGE_ONE,
            "second_stage": {**SECOND, "sampling": "uniform"},
            "lambda_": 2.0,
            "gamma": 0.5,
            "alpha": 1.0,
            "uniform": False,
        },
    ),
    stages=stages,
    prefix=prefix,
    follows=absgd.follows,
)
