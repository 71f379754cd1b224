"""The card of generalised cross-entropy."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions
from reweigh.config.specs import Count, Positive


class Options(LossOptions):
    q: Annotated[float, Field(gt=0, le=1)]  # towards 0 cross-entropy, which has a module of its own; 1: 1 − p_y
    truncation: Annotated[float, Field(gt=0, lt=1)] | None
    refresh_from: Count | None
    refresh_every: Positive | None


CARD = LossCard(
    options=Options,
    examples=(
        {"q": 0.7, "truncation": 0.4, "refresh_from": 1, "refresh_every": 2},
        {"q": 1.0, "truncation": None, "refresh_from": None, "refresh_every": None},
    ),
    signed=True,  # truncation takes a constant off
)
