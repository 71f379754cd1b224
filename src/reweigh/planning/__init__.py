"""What the Snakefiles need, what would run and at what cost, and what this machine has."""
