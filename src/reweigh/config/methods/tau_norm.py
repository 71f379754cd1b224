"""The card of τ-normalisation."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import Card, Needs
from reweigh.config.methods.two_stage import STAGE_ONE, StageOneOptions, prefix, stages


class Options(StageOneOptions):
    tau_max: Annotated[float, Field(gt=0)]
    tau_step: Annotated[float, Field(gt=0)]


CARD = Card(
    options=Options,
    examples=({"stage_one": STAGE_ONE, "tau_max": 2.0, "tau_step": 0.5},),
    stages=stages,
    prefix=prefix,
    needs=lambda options: Needs(validation=True, head="linear"),  # it chooses τ there; a cosine has τ = 1 already
    traces=lambda options, steps: {"tau"},
)
