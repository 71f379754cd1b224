"""The card of the noise adaptation layer."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config import cards
from reweigh.config.cards import Card, Look, PlannedStage
from reweigh.config.specs import Frozen, Positive, Rate, Schedule


class Options(Frozen):
    initial: Literal["confusion", "diagonal"]
    warm_epochs: Positive | None
    second_schedule: Schedule | None
    optimiser: Literal["sgd", "adam"]
    rate: Rate | None
    momentum: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _goes_together(self) -> "Options":
        if (self.warm_epochs is not None) != (self.initial == "confusion"):
            raise ValueError("warm_epochs: initial confusion, and no other, needs the epochs of plain training")
        if self.second_schedule and self.initial == "diagonal":
            raise ValueError("second_schedule: with initial diagonal there is one stage; set it to null")
        if self.optimiser == "adam" and self.momentum:
            raise ValueError("momentum: adam has its own; set it to 0")
        return self


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    warm = options["warm_epochs"]
    return [PlannedStage(epochs)] if warm is None else [PlannedStage(warm), PlannedStage(epochs - warm)]


DIAGONAL: dict[str, Any] = {
    "initial": "diagonal",
    "warm_epochs": None,
    "second_schedule": None,
    "optimiser": "sgd",
    "rate": None,
    "momentum": 0.9,
}
CONFUSION: dict[str, Any] = {**DIAGONAL, "initial": "confusion", "warm_epochs": 1}
CONSTANT: dict[str, Any] = {"name": "constant", "warmup_epochs": 0}

CARD = Card(
    options=Options,
    examples=(
        DIAGONAL,
        CONFUSION,
        {**CONFUSION, "second_schedule": CONSTANT, "optimiser": "adam", "rate": 0.01, "momentum": 0.0},
    ),
    stages=stages,
    traces=lambda options, steps: {"noise_matrix"},
    cost=1.1,
    look=lambda options: Look("#CC79A7", "P", hollow=options["initial"] == "diagonal"),
)
