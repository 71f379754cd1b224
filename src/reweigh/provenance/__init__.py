"""Where numbers come from, and whether it is so.

`explain` walks one of them back to the raw bytes; `audit` checks the whole chain; `attest` shows that an edit changed
no number; `crate` packs it all for others.
"""
