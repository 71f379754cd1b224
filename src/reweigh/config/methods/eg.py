"""The card of exponentiated-gradient reweighting."""

from reweigh.config import cards
from reweigh.config.cards import Card, Look
from reweigh.config.methods import absgd
from reweigh.config.methods.base import ClassBalance, loss_name


class Options(absgd.TiltedOptions):
    lambda_: float
    persistent: bool
    class_balance: ClassBalance | None


def look(options: cards.Options) -> Look | None:
    return Look("#009E73", "v") if loss_name(options) == "sce" else None


EXAMPLE = {"lambda_": -0.5, "from_epoch": 1, "persistent": False, "loss": None, "class_balance": None}

CARD = Card(
    options=Options,
    examples=(EXAMPLE, {**EXAMPLE, "persistent": True}),
    follows=absgd.follows,
    look=look,
)
