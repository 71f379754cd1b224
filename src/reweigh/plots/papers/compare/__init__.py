"""Figures of our own comparison: all methods on the same ground."""
