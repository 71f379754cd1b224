"""The card of plain training on the training and the target set."""

from reweigh.config.cards import Card, Look, PlannedStage
from reweigh.config.methods.none import Options

CARD = Card(
    options=Options,
    examples=({"scale": "mean"},),
    stages=lambda options, epochs: [PlannedStage(epochs, part="train+target")],
    look=lambda options: Look("#000000", "X"),
)
