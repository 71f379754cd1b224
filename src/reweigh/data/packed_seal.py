"""`packed.json` states the digests of all that travels with it; this is the digest of itself.

seal(folder)     once it is written
check(folder)    before anything of the folder is used; without a folder, that of $REWEIGH_PACKED
"""

import functools
from pathlib import Path

from reweigh import canonical_json
from reweigh.data import packed
from reweigh.errors import DataError

AGAIN = "send it again, or make it again with: reweigh pack DIR"


def seal(folder: Path) -> None:
    """Have the index of a folder state the digest of itself."""
    path = folder / packed.INDEX
    canonical_json.write(path, canonical_json.text_of(canonical_json.seal(packed.index(folder))))


def check(folder: Path | None = None) -> None:
    """Raise DataError if there is a folder and its index is not what was written, to the last byte."""
    place = folder or packed.folder()
    if place is None:
        return
    path = place / packed.INDEX
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); {AGAIN}") from None
    if wrong := _wrong(content):
        raise DataError(f"{path}: {wrong}; {AGAIN}")


@functools.lru_cache(maxsize=1)
def _wrong(content: bytes) -> str:
    """What is wrong with an index; empty for one that is as it was written."""
    try:
        body = canonical_json.parse(content)
    except ValueError as error:
        return f"damaged ({error})"
    if "digest" not in body:
        return "it has no digest of its own, so it is of an older version or damaged"
    return canonical_json.altered(body, content)
