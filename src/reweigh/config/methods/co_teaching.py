"""The card of co-teaching."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config import cards
from reweigh.config.cards import Card, Look
from reweigh.config.specs import Frozen, Positive

Share = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Frozen):
    """The run's own, with its schedule."""

    name: Literal["sgd"]


class Adam(Frozen):
    """With the rate and schedule of the run; from epoch `decay_from` on falling linearly, with another β₁."""

    name: Literal["adam"]
    decay_from: Positive | None
    late_beta1: Share | None

    @model_validator(mode="after")
    def _both_change_at_once(self) -> "Adam":
        if (self.decay_from is None) != (self.late_beta1 is None):
            raise ValueError("decay_from and late_beta1 go together; state both or neither")
        return self


Optimiser = Annotated[Sgd | Adam, Field(discriminator="name")]


class Options(Frozen):
    noise_rate: Share
    rises_over: Positive
    optimiser: Optimiser


SGD: dict[str, Any] = {"name": "sgd"}
ADAM: dict[str, Any] = {"name": "adam", "decay_from": None, "late_beta1": None}
EXAMPLE: dict[str, Any] = {"noise_rate": 0.3, "rises_over": 2, "optimiser": SGD}


def traces(options: cards.Options, steps: int) -> set[str]:
    return {"chosen_by_both"}


CARD = Card(
    options=Options,
    examples=(
        EXAMPLE,
        {**EXAMPLE, "rises_over": 4, "optimiser": {**ADAM, "decay_from": 2, "late_beta1": 0.1}},
        {"noise_rate": 0.0, "rises_over": 1, "optimiser": ADAM},
    ),
    # A net's weights follow the losses of the other one: of its own loss, of classes and targets they know nothing.
    traces=traces,
    cost=2.0,  # two nets
    look=lambda options: Look("#0072B2", "D", hollow=options["optimiser"]["name"] == "adam"),
)
