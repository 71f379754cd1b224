"""The card of margin-based reweighting."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from reweigh.config.cards import Card, Look, Needs, PlannedStage
from reweigh.config.methods import train_twice


class Options(train_twice.MarginOptions):
    slope: Annotated[float, Field(gt=0, le=1e3)]
    offset: Annotated[float, Field(ge=-1, le=1)]


OPTIONS: dict[str, Any] = {"margins": train_twice.ONCE, "slope": 2.0, "offset": 0.0}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    return [*train_twice.first_stages(options, epochs), PlannedStage(epochs)]


CARD = Card(
    options=Options,
    examples=(OPTIONS, {"margins": train_twice.OUT_OF_FOLD, "slope": 10.0, "offset": -0.5}),
    stages=stages,
    prefix=train_twice.prefix,
    needs=lambda options: Needs(validation=True),
    look=lambda options: Look("#009E73", "P"),
)
