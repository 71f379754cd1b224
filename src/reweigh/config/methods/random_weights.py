"""The card of random weights, which follow nothing."""

from typing import Literal

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.specs import Frozen, Positive


class Options(Frozen):
    per: Literal["example", "class"]
    every: Positive


CARD = Card(
    options=Options,
    examples=({"per": "example", "every": 1}, {"per": "class", "every": 3}),
    cost=1.05,
    bench=BenchEntry("random weights", {"per": "example", "every": 1}),
    look=lambda options: Look("#CC79A7", "v", hollow=options["per"] == "class"),
)
