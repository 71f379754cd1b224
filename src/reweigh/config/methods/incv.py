"""The card of INCV, iterative noisy cross-validation."""

from typing import Any, Literal

from reweigh.config import cards
from reweigh.config.cards import Card, Look, PlannedStage
from reweigh.config.methods import co_teaching
from reweigh.config.specs import Count, Frozen, Positive, Rate


class Options(Frozen):
    iterations: Positive
    search_epochs: Positive
    search_rate: Rate
    noise: Literal["symmetric", "asymmetric"]
    warm_up: Count
    rises_over: Positive
    optimiser: co_teaching.Optimiser


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    search = PlannedStage(options["search_epochs"], part="members", share=0.5, listed=lambda size: size // 2)
    final = PlannedStage(epochs, part="members", listed=lambda size: size)
    return [search] * (2 * options["iterations"]) + [final]


EXAMPLE: dict[str, Any] = {
    "iterations": 2,
    "search_epochs": 2,
    "search_rate": 1e-3,
    "noise": "symmetric",
    "warm_up": 1,
    "rises_over": 2,
    "optimiser": co_teaching.ADAM,
}

SEARCHED = ("noise_rate", "selected_share", "candidate_share")  # what a run logs in its searches

CARD = Card(
    options=Options,
    examples=(
        EXAMPLE,
        {**EXAMPLE, "iterations": 1, "noise": "asymmetric", "warm_up": 0, "optimiser": co_teaching.SGD},
    ),
    stages=stages,
    traces=lambda options, steps: {*SEARCHED, *co_teaching.traces(options, steps)},
    cost=1.5,  # one net in the searches, which are half of the steps in the authors' setting, then two
    look=lambda options: Look("#0072B2", "s", hollow=options["noise"] == "symmetric"),
)
