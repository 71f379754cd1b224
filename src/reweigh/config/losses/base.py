"""The options that every loss has; see `reweigh.losses.base`."""

from reweigh.config.specs import Frozen


class LossOptions(Frozen):
    """Base of all options of losses. A subclass names the keywords of its loss's constructor, without defaults."""

    normalise_logits: bool = False
