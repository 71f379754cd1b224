"""The card of joint training."""

from reweigh.config.cards import Card
from reweigh.config.methods.two_stage import STAGE_ONE, StageOneOptions, prefix, stages

CARD = Card(options=StageOneOptions, examples=({"stage_one": STAGE_ONE},), stages=stages, prefix=prefix)
