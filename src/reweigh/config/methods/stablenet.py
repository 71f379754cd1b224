"""The card of StableNet."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.specs import Frozen, Positive, Rate


class Options(Frozen):
    features: Annotated[int, Field(ge=2, le=10**6)]  # of the last hidden layer, at most
    strength: Annotated[float, Field(gt=0)]
    inner_steps: Positive
    inner_rate: Rate
    inner_momentum: Annotated[float, Field(ge=0, lt=1)]
    memory: Annotated[float, Field(ge=0, lt=1)]


CODE: dict[str, Any] = {
    "features": 512,
    "strength": 70.0,
    "inner_steps": 20,
    "inner_rate": 1.0,
    "inner_momentum": 0.9,
    "memory": 0.9,
}

CARD = Card(
    options=Options,
    examples=({**CODE, "inner_steps": 3}, {**CODE, "features": 40, "inner_steps": 2}),
    cost=1.5,
    bench=BenchEntry("StableNet", CODE),
    look=lambda options: Look("#56B4E9", "^"),
)
