"""The option `meta_set` of methods that a meta set teaches; see `reweigh.methods.meta_set`."""

from typing import Literal

from reweigh.config.cards import Needs, Options

MetaSet = Literal["validation", "target"]


def needs(options: Options) -> Needs:
    """The meta set: what the split holds out of the training set, or its target set."""
    return Needs(validation=options["meta_set"] == "validation", target=options["meta_set"] == "target")
