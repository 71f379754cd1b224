"""What an outer loss (on a target or validation set) says about the weights of a training step."""
