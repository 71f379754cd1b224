"""The card of example reweighting."""

from typing import Literal

from reweigh.config.cards import BenchEntry, Card, Look, Needs
from reweigh.config.specs import Frozen


class Options(Frozen):
    scale: Literal["sum", "mean"]


CARD = Card(
    options=Options,
    examples=({"scale": "sum"}, {"scale": "mean"}),
    follows=lambda options: {"target": 1},
    needs=lambda options: Needs(target=True),
    cost=2.8,
    bench=BenchEntry("example reweighting", {"scale": "sum"}),
    look=lambda options: Look("#D55E00", "s", hollow=options["scale"] == "mean"),
)
