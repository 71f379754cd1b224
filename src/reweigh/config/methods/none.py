"""The card of plain training."""

from typing import Literal

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.specs import Frozen


class Options(Frozen):
    scale: Literal["mean", "1c"]


CARD = Card(
    options=Options,
    examples=({"scale": "mean"}, {"scale": "1c"}),
    plain=True,
    bench=BenchEntry("plain step", {"scale": "mean"}),
    look=lambda options: Look("#555555", "D", hollow=options["scale"] == "1c"),
)
