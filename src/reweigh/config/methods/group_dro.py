"""The card of Group DRO."""

from typing import Any

from reweigh.config import cards
from reweigh.config.cards import Card, Look, Needs
from reweigh.config.methods.thresholded import BY_LOSSES, ThresholdedOptions, cells_of, stages, traces
from reweigh.config.specs import Rate


class Options(ThresholdedOptions):
    rate: Rate


def all_traces(options: cards.Options, steps: int) -> set[str]:
    """The weights of the groups, a row an epoch, and the threshold, where there is one."""
    return {"group_weights", *traces(options, steps)}


EXAMPLE: dict[str, Any] = {"rate": 0.01, "part": "train", "threshold": None}

CARD = Card(
    options=Options,
    examples=(EXAMPLE, {"rate": 0.5, "part": "train+validation", "threshold": BY_LOSSES}),
    follows=lambda options: {"loss": 1},
    needs=lambda options: Needs(groups=cells_of(options) or "any"),
    stages=stages,
    traces=all_traces,
    look=lambda options: Look("#56B4E9", "D", hollow=bool(options["threshold"])),
)
