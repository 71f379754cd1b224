"""The card of mixup."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config.cards import Card, Look
from reweigh.config.methods.base import ClassBalance, Loss
from reweigh.config.specs import Frozen


class Options(Frozen):
    alpha: Annotated[float, Field(gt=0, le=1e3)]
    loss: Loss
    class_balance: ClassBalance | None


CODE: dict[str, Any] = {"alpha": 1.0, "loss": None, "class_balance": None}
DEFERRED: dict[str, Any] = {"beta": 0.9999, "from_epoch": 2}

CARD = Card(
    options=Options,
    examples=(
        CODE,
        {**CODE, "alpha": 0.2, "class_balance": DEFERRED},
        {**CODE, "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": False}, "class_balance": DEFERRED},
    ),
    follows=lambda options: {"rarity": int(bool(options["class_balance"]))},
    cost=1.1,
    look=lambda options: Look("#56B4E9", "s", hollow=bool(options["class_balance"])),
)
