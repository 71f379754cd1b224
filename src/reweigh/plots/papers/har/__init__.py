"""HAR: a one-dimensional toy that tests the exponents of its strengths."""
