"""Kinds of figures that only AutoBalance has."""
