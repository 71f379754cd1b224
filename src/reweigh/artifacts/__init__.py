"""Figures and tables: rendering them, and the receipts that bind them to their records."""
