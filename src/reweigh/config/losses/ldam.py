"""The card of label-distribution-aware margins."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import LossCard, Needs
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    max_margin: Annotated[float, Field(ge=0)]
    scale: Annotated[float, Field(gt=0)]


CARD = LossCard(
    options=Options,
    examples=({"max_margin": 0.5, "scale": 30.0},),
    # Times `scale`, logits of any size end on the common classes, and so do normalised ones (tests of cosine heads).
    needs=lambda options: Needs(head="cosine"),
)
