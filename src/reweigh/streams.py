"""Named random streams: every draw of a run has a name, so that no draw depends on how many others came before it."""

import hashlib

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of run `seed`, e.g. `stream_seed(0, "batches", 7)`.

    Streams with different names are independent; the same name always gives the same draws.

    >>> stream_seed(0, "batches", 7) == stream_seed(0, "batches", 7) != stream_seed(0, "batches", 8)
    True
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy's generator for one named stream: "subsample", "target", "test", "noise", "init", "batches", "augment"."""
    return np.random.default_rng(stream_seed(seed, *names))
