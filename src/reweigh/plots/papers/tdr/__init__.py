"""Kinds of figures that only TDR has."""
