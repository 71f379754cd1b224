"""What the Snakefiles ask, what would run and at what cost, and what this machine has."""
