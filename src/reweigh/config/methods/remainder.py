"""The card of plain training on what a removal leaves."""

from collections.abc import Mapping
from typing import Any, Literal

from reweigh.config.cards import Card, Look, Needs, PlannedPrefix, PlannedStage
from reweigh.config.methods import train_twice
from reweigh.config.methods.lrw import Share


class Options(train_twice.MarginOptions):
    removed: Literal["easy", "random", "hard"] | None
    share: Share


EASY: dict[str, Any] = {"margins": train_twice.ONCE, "removed": "easy", "share": 0.1}


def stages(options: Mapping[str, Any], epochs: int) -> list[PlannedStage]:
    if options["removed"] is None:
        return [PlannedStage(epochs, part="train+validation")]
    second = PlannedStage(
        epochs, part=train_twice.MEMBERS, listed=lambda size: size - max(1, round(options["share"] * size))
    )
    return [*train_twice.first_stages(options, epochs), second]


def prefix(options: Mapping[str, Any]) -> PlannedPrefix | None:
    return None if options["removed"] is None else train_twice.prefix(options)


CARD = Card(
    options=Options,
    examples=(
        EASY,
        {**EASY, "removed": "hard", "margins": train_twice.OUT_OF_FOLD},
        {**EASY, "removed": "random", "margins": train_twice.EARLY, "share": 0.3},
        {**EASY, "removed": None},
    ),
    stages=stages,
    prefix=prefix,
    needs=lambda options: Needs(validation=True),
    look=lambda options: Look(
        "#000000", {None: "o", "easy": "v", "random": "s", "hard": "^"}[options["removed"]], True
    ),
)
