"""The card of the uniform gradient-norm penalty."""

from reweigh.config.cards import Card, Look
from reweigh.config.methods.penalised import DIFFERENCE, PENALTY, PenaltyOptions, follows

BALANCE = {"beta": 0.9999, "from_epoch": 1}

CARD = Card(
    options=PenaltyOptions,
    examples=(
        PENALTY,
        {**PENALTY, "aggregate": "rss", "layers": ["conv*", "fc1"], "class_balance": BALANCE},
        {**PENALTY, **DIFFERENCE, "class_balance": BALANCE},
        {**PENALTY, **DIFFERENCE, "aggregate": "rss", "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": False}},
    ),
    follows=follows,
    traces=lambda options, steps: {"penalty", "batch_loss", "class_norms"} if steps else set(),
    precisions=("fp32",),
    cost=2.5,
    look=lambda options: Look("#009E73", "s", hollow=options["route"] == "difference"),
)
