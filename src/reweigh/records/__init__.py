"""Records, whether they are current, and the way from a record back to raw bytes."""
