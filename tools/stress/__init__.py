"""Disturb the program in every way that its authors could think of: nothing may come out differently."""
