"""The card of cross-entropy."""

from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions

CARD = LossCard(options=LossOptions, examples=({}, {"normalise_logits": True}))
