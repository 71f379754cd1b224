"""The card of just train twice."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config import cards
from reweigh.config.cards import Card, Look, PlannedPrefix, PlannedStage
from reweigh.config.specs import Frozen, Positive


class Options(Frozen):
    first_epochs: Positive
    upweight: Annotated[float, Field(ge=0, le=1e6)]


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    return [PlannedStage(options["first_epochs"]), PlannedStage(epochs)]


def prefix(options: cards.Options) -> PlannedPrefix:
    """Plain training up to the errors, whatever they then weigh."""
    return PlannedPrefix(1, "jtt", {**options, "upweight": 0.0})


EXAMPLE: dict[str, Any] = {"first_epochs": 1, "upweight": 5.0}

CARD = Card(
    options=Options,
    examples=(EXAMPLE,),
    stages=stages,
    prefix=prefix,
    traces=lambda options, steps: {"error_share"},  # the errors are those of the first stage, whatever losses are now
    look=lambda options: Look("#0072B2", "P"),
)
