"""The card of ABSGD as a second stage."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from reweigh.config.cards import Card
from reweigh.config.methods import absgd
from reweigh.config.methods.two_stage import SECOND, STAGE_ONE, TwoStageOptions, prefix, stages


class Options(TwoStageOptions):
    lambda_: float
    gamma: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0)]
    uniform: bool
    class_balance: absgd.NormalisedClassBalance | None = None

    newer: ClassVar[frozenset[str]] = frozenset({"class_balance"})

    @model_validator(mode="after")
    def _has_weights(self) -> "Options":
        if not self.lambda_:
            raise ValueError("a lambda of 0 has no weights")
        return self


EXAMPLE: dict[str, Any] = {
    "stage_one": STAGE_ONE,
    "second_stage": {**SECOND, "sampling": "uniform"},
    "lambda_": 2.0,
    "gamma": 0.5,
    "alpha": 1.0,
    "uniform": False,
}
BALANCED: dict[str, Any] = {"beta": 0.9999, "from_epoch": 0, "normalisation": "none"}

CARD = Card(
    options=Options,
    examples=(EXAMPLE, {**EXAMPLE, "class_balance": BALANCED}),
    stages=stages,
    prefix=prefix,
    follows=absgd.follows,
)
