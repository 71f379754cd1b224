"""Changes to the bytes of a file, as disks, power cuts, copies and editors make them; each is drawn from its number."""

import random
from collections.abc import Callable
from dataclasses import dataclass

BLOCKS = (512, 4096)  # bytes: what a disk and a page of memory write as a whole

WAYS = {
    "bit": "one bit flipped",
    "bytes": "up to eight bytes changed",
    "inserted": "up to sixteen bytes inserted",
    "deleted": "up to sixteen bytes deleted",
    "cut": "the file cut short, perhaps to nothing",
    "zeros": "a block of zeros, as a power cut leaves it; perhaps the whole file",
    "swapped": "the contents of two files of a kind, one for the other",
}


@dataclass(frozen=True)
class Change:
    """The change with this number of a call with this seed, to a file of this kind."""

    seed: int
    number: int
    kind: str

    @property
    def chance(self) -> random.Random:
        """What draws it: always the same, whatever was drawn before."""
        return random.Random(f"{self.seed}/{self.number}")

    def __str__(self) -> str:
        return f"change {self.number} of a file of kind {self.kind!r}"


def apply(content: bytes, way: str, chance: random.Random) -> bytes:
    """The content with a change of one of the WAYS but `swapped`; of the same bytes where there is nothing to change.

    >>> apply(b"abcd", "bit", random.Random(1))
    b"aBcd"
    """
    return _MAKE[way](content, chance)


def _bit(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return content
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def _bytes(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    some = len(content[place : place + chance.randint(1, 8)])
    return content[:place] + chance.randbytes(some) + content[place + some :]


def _inserted(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.randbytes(chance.randint(1, 16)) + content[place:]


def _deleted(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + content[place + chance.randint(1, 16) :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return b"" if chance.random() < 0.1 else content[: chance.randrange(len(content) + 1)]


def _zeros(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.1:
        return bytes(len(content))
    block = chance.choice(BLOCKS)
    place = block * chance.randrange(len(content) // block + 1)
    return content[:place] + bytes(len(content[place : place + block])) + content[place + block :]


_MAKE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit": _bit,
    "bytes": _bytes,
    "inserted": _inserted,
    "deleted": _deleted,
    "cut": _cut,
    "zeros": _zeros,
}
