"""The card of the constant predictor, which trains nothing."""

from reweigh.config.cards import Card, Look
from reweigh.config.specs import Frozen


class Options(Frozen):
    pass


CARD = Card(
    options=Options,
    examples=({},),
    stages=lambda options, epochs: [],
    look=lambda options: Look("#56B4E9", "X"),
)
