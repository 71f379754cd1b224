"""The card of the template: what the rest must know of a loss. `reweigh new loss NAME` begins from this file."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    temperature: Annotated[float, Field(gt=0)]


# `examples` are what the automatic tests build it with; `signed=True` if it may be below 0.
CARD = LossCard(options=Options, examples=({"temperature": 1.0}, {"temperature": 2.0}))
