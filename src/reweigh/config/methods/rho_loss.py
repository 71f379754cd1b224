"""The card of RHO-loss."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config import cards
from reweigh.config.cards import Card, Look, Needs, PlannedStage
from reweigh.config.specs import Frozen, Positive, Schedule


class Options(Frozen):
    share: Annotated[float, Field(gt=0, le=1)]
    hold_out: Annotated[float, Field(gt=0, lt=1)]
    irreducible_epochs: Positive
    irreducible_batch_size: Positive | None
    irreducible_schedule: Schedule | None
    checkpoint: Literal["last", "best"]
    check_every: Positive
    optimiser: Literal["sgd", "adamw"]


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    first = PlannedStage(
        options["irreducible_epochs"],
        batch_size=options["irreducible_batch_size"],
        part="members of train+validation",
        share=options["hold_out"],
        listed=lambda total: int(total * Fraction(str(options["hold_out"]))),
    )
    return [first, PlannedStage(epochs)]


EXAMPLE: dict[str, Any] = {
    "share": 0.1,
    "hold_out": 0.06,
    "irreducible_epochs": 3,
    "irreducible_batch_size": None,
    "irreducible_schedule": None,
    "checkpoint": "last",
    "check_every": 1,
    "optimiser": "sgd",
}

CARD = Card(
    options=Options,
    examples=(
        EXAMPLE,
        {
            **EXAMPLE,
            "share": 0.5,
            "irreducible_batch_size": 4,
            "irreducible_schedule": {"name": "constant", "warmup_epochs": 0},
            "checkpoint": "best",
            "optimiser": "adamw",
        },
    ),
    stages=stages,
    needs=lambda options: Needs(validation=True),  # the irreducible losses are learned there
    traces=lambda options, steps: {"irreducible_loss"},
    cost=4.3,  # it chooses rows of a large batch by their losses: all rows that it chose weigh the same
    look=lambda options: Look("#882255", "s", hollow=options["optimiser"] == "adamw"),
)
