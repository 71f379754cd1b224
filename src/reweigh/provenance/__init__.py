"""Where each number comes from, and whether that still holds.

`explain` follows one number back to the raw bytes; `audit` checks the whole chain; `attest` shows that an edit of the
code changed no number; `crate` packs everything for others.
"""
