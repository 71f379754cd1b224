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
    # Times `scale`, logits of any size would leave the rare classes without a gradient; those of a cosine are -1 to 1.
    needs=lambda options: Needs(head=None if options.get("normalise_logits") else "cosine"),
)
