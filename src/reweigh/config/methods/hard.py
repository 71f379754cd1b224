"""The card of hard weighting."""

from typing import Literal

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.specs import Frozen


class Options(Frozen):
    scale: Literal["simplex", "mean"]


CARD = Card(
    options=Options,
    examples=({"scale": "simplex"}, {"scale": "mean"}),
    follows=lambda options: {"rarity": 1},
    bench=BenchEntry("hard weighting", {"scale": "simplex"}),
    look=lambda options: Look("#009E73", "^", hollow=options["scale"] == "mean"),
)
