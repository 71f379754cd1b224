"""Data: manifest and fetch, one reader per data set, and the splits that experiments draw from them."""
