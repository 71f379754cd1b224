"""The card of MentorNet's predefined curriculum in closed form."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config.cards import Card, Look
from reweigh.config.specs import Frozen


class Options(Frozen):
    percentile: Annotated[float, Field(gt=0, lt=1)]  # of the losses of a batch, as a share
    decay: Annotated[float, Field(ge=0, lt=1)]
    burn_in: Annotated[float, Field(ge=0, lt=1)]  # share of the epochs


SHEET: dict[str, Any] = {"percentile": 0.75, "decay": 0.95, "burn_in": 0.2}

CARD = Card(
    options=Options,
    # The first has bounds high enough for the automatic test, whose example has the largest loss of its batch.
    examples=({**SHEET, "percentile": 0.95, "decay": 0.9}, {"percentile": 0.9, "decay": 0.8, "burn_in": 0.0}),
    follows=lambda options: {"loss": -1},
    traces=lambda options, steps: {"kept_share"},
    look=lambda options: Look("#009E73", "D"),
)
