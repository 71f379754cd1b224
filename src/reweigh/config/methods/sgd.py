"""The card of plain training with any loss, class weights and resampling."""

from typing import Any, Literal

from reweigh.config import cards
from reweigh.config.cards import Card, Look, PlannedStage
from reweigh.config.methods.base import ClassBalance, Loss, loss_name
from reweigh.config.specs import Count, Frozen, Rate


class RateFactor(Frozen):
    factor: Rate
    from_epoch: Count


class Options(Frozen):
    loss: Loss
    class_balance: ClassBalance | None
    sampling: Literal["uniform", "effective-number"]
    rate_factor: RateFactor | None


MARKERS = {"cross_entropy": "o", "focal": "s", "ldam": "^", "sce": "v", "gce": "P"}


def look(options: cards.Options) -> Look | None:
    marker = MARKERS.get(loss_name(options))
    return Look("#555555", marker) if marker else None


PLAIN: dict[str, Any] = {"loss": None, "class_balance": None, "sampling": "uniform", "rate_factor": None}
DEFERRED: dict[str, Any] = {"beta": 0.9999, "from_epoch": 2}

CARD = Card(
    options=Options,
    examples=(
        {**PLAIN, "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": True}, "class_balance": DEFERRED},
        {**PLAIN, "loss": {"name": "ldam", "max_margin": 0.5, "scale": 2.0}, "class_balance": DEFERRED},
        {**PLAIN, "loss": {"name": "gce", "q": 0.7, "truncation": 0.5, "refresh_from": 1, "refresh_every": 2}},
        {**PLAIN, "sampling": "effective-number", "rate_factor": {"factor": 2.0, "from_epoch": 2}},
    ),
    follows=lambda options: {"rarity": int(bool(options["class_balance"]))},
    stages=lambda options, epochs: [PlannedStage(epochs, options["sampling"])],
    look=look,
)
