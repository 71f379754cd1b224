"""The card of classifier re-training."""

from reweigh.config.cards import Card
from reweigh.config.methods.two_stage import SECOND, STAGE_ONE, TwoStageOptions, prefix, stages

EXAMPLE = {"stage_one": STAGE_ONE, "second_stage": SECOND}

CARD = Card(options=TwoStageOptions, examples=(EXAMPLE,), stages=stages, prefix=prefix)
