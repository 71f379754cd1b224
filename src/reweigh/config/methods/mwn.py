"""The card of Meta-Weight-Net."""

from typing import Any, Literal

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.methods.meta_set import needs
from reweigh.config.methods.weight_net import ADAM, SGD, WeightNetOptions, learned, traces
from reweigh.config.specs import Positive


class Options(WeightNetOptions):
    meta_every: Positive
    normalise: bool
    virtual_step: Literal["apart", "shared"]


EVERY_FIFTH: dict[str, Any] = {
    "meta_set": "validation", "meta_every": 5, "hidden": 100, "optimiser": ADAM, "normalise": False,
    "virtual_step": "apart",
}  # fmt: skip

CARD = Card(
    options=Options,
    examples=(
        EVERY_FIFTH,
        {**EVERY_FIFTH, "meta_set": "target", "meta_every": 1},
        {**EVERY_FIFTH, "meta_every": 2, "optimiser": SGD, "normalise": True},
        {**EVERY_FIFTH, "meta_every": 3, "virtual_step": "shared"},
    ),
    follows=lambda options: learned(options, "loss"),
    traces=traces,
    needs=needs,
    cycle=lambda options: int(options["meta_every"]),
    cost=1.6,  # of every fifth step
    bench=BenchEntry("Meta-Weight-Net, every 5 steps", EVERY_FIFTH),
    look=lambda options: Look("#009E73", "v", hollow=options["meta_set"] == "target"),
)
