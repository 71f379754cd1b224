"""The option `meta_set` of methods that a meta set teaches; see `reweigh.methods.meta_set`."""

from typing import Literal

from reweigh.config.cards import Options

MetaSet = Literal["validation", "target"]


def needs_validation(options: Options) -> bool:
    """Whether the meta set is what the split holds out of the training set."""
    return bool(options["meta_set"] == "validation")
