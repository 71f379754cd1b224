"""Records, what keeps them current, and the way from a record back to raw bytes."""
