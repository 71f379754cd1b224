"""Kinds of figures that only one paper has, in a folder of its name."""
