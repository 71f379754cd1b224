"""The card of ABAdam."""

from typing import Annotated

from pydantic import Field

from reweigh.config.cards import Card
from reweigh.config.methods import absgd


class Options(absgd.Options):
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    stability: Annotated[float, Field(gt=0)]
    heavy_ball: None = None  # it has moments of its own


CARD = Card(
    options=Options,
    examples=({**absgd.BENCH, "lambda_": 2.0, "beta1": 0.9, "beta2": 0.999, "stability": 1e-8},),
    follows=absgd.follows,
    traces=absgd.traces,
)
