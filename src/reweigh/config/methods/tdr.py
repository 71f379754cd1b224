"""The card of targeted data-driven regularisation."""

from typing import Annotated, Any, Literal

from pydantic import Field

from reweigh.config.cards import BenchEntry, Card, Look, Needs
from reweigh.config.specs import Frozen, Positive, Rate


class Options(Frozen):
    outer_every: Positive
    outer_learning_rate: Rate
    clip_max: Annotated[float, Field(gt=0)] | None
    normalisation: Literal["class", "batch"]
    hypergradient_batch: Literal["fresh", "last"]
    look_ahead_decay: bool
    target_mode: Literal["eval", "train"]
    target_augment: bool


CODE: dict[str, Any] = {
    "outer_every": 10,
    "outer_learning_rate": 0.1,
    "clip_max": 100.0,
    "normalisation": "class",
    "hypergradient_batch": "fresh",
    "look_ahead_decay": True,
    "target_mode": "eval",
    "target_augment": True,
}
PRINTED: dict[str, Any] = {
    "outer_every": 3,
    "outer_learning_rate": 0.2,
    "clip_max": None,
    "normalisation": "batch",
    "hypergradient_batch": "last",
    "look_ahead_decay": False,
    "target_mode": "train",
    "target_augment": False,
}

CARD = Card(
    options=Options,
    examples=({**CODE, "outer_every": 4}, PRINTED),
    follows=lambda options: {"target": 1},
    needs=lambda options: Needs(target=True),
    traces=lambda options, steps: {"class_weights"} if steps >= options["outer_every"] else set(),
    cycle=lambda options: int(options["outer_every"]),
    cost=1.3,
    bench=BenchEntry("TDR, t_in = 10", CODE),
    look=lambda options: Look("#0072B2", "o", hollow=options["normalisation"] == "batch"),
)
