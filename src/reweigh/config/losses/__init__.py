"""The cards of the losses, one a module of `reweigh.losses`; see `reweigh.config.cards`."""
