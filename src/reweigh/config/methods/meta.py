"""The card of META."""

from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config.cards import BenchEntry, Card, Needs
from reweigh.config.methods.base import Loss
from reweigh.config.specs import Count, Frozen, Rate


class Options(Frozen):
    from_epoch: Count
    beta: Annotated[float, Field(ge=0, lt=1)]
    weight_rate: Rate
    meta_learning_rate: Rate
    meta_milestones: list[Count]
    meta_factor: Rate
    meta_loss: Literal["cross_entropy", "own"]
    target_augment: bool
    loss: Loss


BENCH: dict[str, Any] = {
    "from_epoch": 0,
    "beta": 0.9999,
    "weight_rate": 0.01,
    "meta_learning_rate": 0.001,
    "meta_milestones": [],
    "meta_factor": 1.0,
    "meta_loss": "cross_entropy",
    "target_augment": True,
    "loss": None,
}
TESTED: dict[str, Any] = {**BENCH, "meta_learning_rate": 0.1, "meta_milestones": [2], "meta_factor": 0.5}

CARD = Card(
    options=Options,
    examples=(
        {**TESTED, "from_epoch": 1},
        {**TESTED, "loss": {"name": "focal", "gamma": 1.0, "weight_leaks": True}, "meta_loss": "own"},
    ),
    follows=lambda options: {"rarity": 1, "target": 1},
    needs=lambda options: Needs(target=True),
    signed_weights=True,  # what a gradient step leaves is not clipped
    cost=1.5,  # it looks ahead in a fifth of its epochs; this is the mean over all
    bench=BenchEntry("META, from its first epoch on", BENCH),
)
