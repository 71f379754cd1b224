"""Reweigh: five papers on learning from imbalanced, noisy and group-biased data, replicated and checked."""

__version__ = "0.13.0"
