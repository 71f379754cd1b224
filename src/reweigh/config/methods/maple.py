"""The card of MAPLE-lite."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config.cards import Card, Look, Needs
from reweigh.config.specs import Count, Frozen, Rate


class Options(Frozen):
    keep: Annotated[float, Field(gt=0, lt=1)]
    from_epoch: Count
    outer_learning_rate: Rate
    rex: Annotated[float, Field(ge=0)]


EXAMPLE: dict[str, Any] = {"keep": 0.9, "from_epoch": 1, "outer_learning_rate": 1.5, "rex": 1.0}

CARD = Card(
    options=Options,
    examples=(EXAMPLE, {**EXAMPLE, "keep": 0.6, "from_epoch": 0, "outer_learning_rate": 0.1, "rex": 0.0}),
    traces=lambda options, steps: {"kept_share", "low_scores"},
    needs=lambda options: Needs(validation=True),  # it says which examples to keep
    cost=1.8,
    look=lambda options: Look("#009E73", "X"),
)
