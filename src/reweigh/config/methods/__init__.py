"""The cards of the methods, one a module of `reweigh.methods`; see `reweigh.config.cards`."""
