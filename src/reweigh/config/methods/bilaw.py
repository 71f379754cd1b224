"""The card of BiLAW."""

from typing import Any

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.methods.meta_set import needs
from reweigh.config.methods.mwn import EVERY_FIFTH, Options
from reweigh.config.methods.weight_net import learned, traces

ON_MARGINS: dict[str, Any] = {**EVERY_FIFTH, "hidden": 128}

CARD = Card(
    options=Options,
    examples=(ON_MARGINS, {**ON_MARGINS, "meta_set": "target", "meta_every": 1, "normalise": True}),
    follows=learned,
    traces=traces,
    needs=needs,
    cycle=lambda options: int(options["meta_every"]),
    cost=1.6,  # of every fifth step
    bench=BenchEntry("BiLAW, every 5 steps", ON_MARGINS),
    look=lambda options: Look("#56B4E9", "v", hollow=options["meta_set"] == "target"),
)
