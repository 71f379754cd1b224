"""Kinds of figures that only MOLERE has."""
