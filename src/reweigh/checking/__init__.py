"""What every method and loss must hold to; see `reweigh.checking.ask`."""
