"""Images of the user's own, a folder for each class, by their card `data/local/NAME.yaml` and the list beside it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data import local_cards
from reweigh.data.arrays import RawData
from reweigh.data.readers import damage
from reweigh.data.transforms import decoded, middle
from reweigh.errors import DataError
from reweigh.terminal import printable


def read(raw: Path, card: str, digest: str) -> RawData:
    """The images that a card lists, uint8 `(N, 3, side, side)`, in the order of the list; labels int64 `(N,)`.

    The shorter side is brought to `side` pixels, and the middle cut out. The project's data lie in `raw/../..`. Raises
    DataError if the card is another than `digest` says, or an image is missing or not the one that was imported.
    """
    data = Path(raw).parent.parent
    described = local_cards.of({"card": card, "digest": digest}, data)
    if described["kind"] != "folder":
        raise DataError(f"{local_cards.card_path(card, data)} describes a table; its data set is table, not folder")
    listed = local_cards.checked_file(described, data)
    again = f"import the folder again: {local_cards.again(described, data)}"
    rows = damage.table(listed, local_cards.LIST, again)
    place, side, classes = local_cards.place_of(described, data), described["side"], described["label"]["classes"]
    parts: dict[str, Any] = {}
    for part in ("train", "test"):
        own = [row for row in rows if row["part"] == part]
        images = np.empty((len(own), 3, side, side), np.uint8)
        for number, row in enumerate(own):
            images[number] = image(place, row["path"], side, row["sha256"], again)
        parts[f"{part}_inputs"] = images
        parts[f"{part}_labels"] = np.array([classes.index(row["label"]) for row in own], np.int64)
    return RawData(**parts, class_names=tuple(classes), edition=local_cards.EDITION)


def image(place: Path, name: str, side: int, sha256: str, again: str) -> np.ndarray:
    """One image of a folder, uint8 (3, side, side). Raises DataError if it is not what its sha256 says."""
    path = place / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror}); put it back, or {again}") from None
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"{printable(path)} has changed since it was imported (sha256 {sha256[:12]} then, {actual[:12]} "
            f"now); put the old file back, or {again}"
        )
    return pixels(path, content, side)


def pixels(path: Path, content: bytes, side: int) -> np.ndarray:
    """The content of an image file as uint8 (3, side, side): the middle, its shorter side brought to `side` pixels."""
    cut: np.ndarray = middle(decoded(path, io.BytesIO(content)), side, side).numpy()
    return cut
