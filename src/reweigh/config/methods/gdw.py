"""The card of generalized data weighting."""

from typing import Any

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.methods.meta_set import needs
from reweigh.config.methods.weight_net import ADAM, SGD, WeightNetOptions, traces
from reweigh.config.specs import Rate


class Options(WeightNetOptions):
    class_rate: Rate
    clip: Rate


CODE: dict[str, Any] = {
    "meta_set": "validation", "hidden": 100, "optimiser": ADAM, "class_rate": 100.0, "clip": 0.2,
}  # fmt: skip

CARD = Card(
    options=Options,
    examples=(CODE, {**CODE, "meta_set": "target"}, {**CODE, "optimiser": SGD, "class_rate": 1.0, "clip": 0.02}),
    follows=lambda options: {"loss": None, **({"target": 1} if options["meta_set"] == "target" else {})},
    traces=traces,
    needs=needs,
    cost=3.7,
    bench=BenchEntry("GDW", CODE),
    look=lambda options: Look("#CC79A7", "^", hollow=options["meta_set"] == "target"),
)
