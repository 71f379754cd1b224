"""The meta set: the examples whose loss, after a look-ahead step, says what the weights are worth.

`meta_set` "validation" takes what the split holds out of the training set, in batches of the training batch's size:
the same examples that any method of the split may learn from. "target" takes the split's target set, which is balanced
and, under label noise, clean, in batches of `target_batch_size`: what the papers of these methods assume. Both are
augmented as training is.
"""

from reweigh.data.batches import Stream
from reweigh.errors import ConfigError
from reweigh.methods import base


def stream(wanted: str, context: base.RunContext) -> Stream:
    """The batches of the meta set. Raises ConfigError where the split has none of the kind that is wanted."""
    if wanted == "target":
        if context.target is None:
            raise ConfigError("meta_set: target, but the split has no target set; set target_size, or take validation")
        return context.target
    if context.validation is None:
        raise ConfigError(
            "meta_set: validation, but the split holds nothing out; set validation_size or validation_share, or take "
            "target"
        )
    return context.validation.stream(context.batch_size, context.seed, "meta-batches", True)
