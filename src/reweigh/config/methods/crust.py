"""The card of CRUST."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field

from reweigh.config import cards
from reweigh.config.cards import Card, Look, PlannedStage
from reweigh.config.specs import Frozen, Positive, Schedule

Shape = Annotated[float, Field(gt=0, le=1e3)]  # of a Beta distribution


class Options(Frozen):
    warm_epochs: Positive
    second_schedule: Schedule | None
    share: Annotated[float, Field(gt=0, le=1)]  # of each class, in the coreset
    radius: Annotated[float, Field(gt=0, le=1e6)]
    alpha: Shape
    beta: Shape


def kept(share: float, size: int) -> int:
    """How many of a class of `size` examples are in the coreset: rounded down, but one at least.

    >>> kept(0.5, 7), kept(0.5, 1), kept(0.5, 0)
    (3, 1, 0)
    """
    return min(size, max(1, int(Fraction(str(share)) * size)))


def stages(options: cards.Options, epochs: int) -> list[PlannedStage]:
    share, warm = options["share"], options["warm_epochs"]

    def members(sizes: Sequence[int]) -> list[int]:
        return [kept(share, size) for size in sizes]

    return [PlannedStage(warm), PlannedStage(epochs - warm, part="members", share=share, members=members)]


CODE: dict[str, Any] = {
    "warm_epochs": 5,
    "second_schedule": None,
    "share": 0.5,
    "radius": 2.0,
    "alpha": 1.0,
    "beta": 0.1,
}
CONSTANT: dict[str, Any] = {"name": "constant", "warmup_epochs": 0}

CARD = Card(
    options=Options,
    examples=(
        {**CODE, "warm_epochs": 1},
        {**CODE, "warm_epochs": 1, "second_schedule": CONSTANT, "share": 0.3, "radius": 0.01, "alpha": 2.0},
    ),
    stages=stages,
    traces=lambda options, steps: {"radius_share"},
    cost=2.0,  # of an epoch: half the steps, and a pass over all examples; greedy search takes more on a fast device
    look=lambda options: Look("#882255", "^"),
)
