"""Mosaics: many 32 x 32 colour images as one lossless WebP picture, tile by tile, row by row."""

import io
from pathlib import Path

import numpy as np

from reweigh.errors import DataError

TILE = 32


def decode(path: Path, most: int | None = None) -> bytes:
    """The tiles of a mosaic as the bytes of an `.npy` file, uint8 `(N, 3, 32, 32)`. Needs Pillow; raises DataError.

    Also, before it is decoded, for a picture whose tiles would be more than `most` bytes.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise DataError(f"{path}: reading a mosaic needs Pillow; install it with: pip install pillow") from None
    try:
        with Image.open(path) as file:
            if most is not None and (size := 3 * file.width * file.height) > most:
                raise ValueError(f"{size} bytes of pixels, which should be {most} at most")
            picture = np.asarray(file.convert("RGB"))
    except Exception as error:  # decoders answer broken bytes with OSError, SyntaxError, ValueError, struct.error ...
        raise DataError(f"{path}: not a picture that can be read ({error})") from None
    if not picture.size or picture.shape[0] % TILE or picture.shape[1] % TILE:
        raise DataError(f"{path}: not tiles of {TILE} x {TILE} pixels, but a picture of {picture.shape[1::-1]}")
    rows, columns = picture.shape[0] // TILE, picture.shape[1] // TILE
    tiles = picture.reshape(rows, TILE, columns, TILE, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, TILE, TILE)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(tiles), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def encode(images: np.ndarray, columns: int) -> bytes:
    """Images uint8 `(N, 3, 32, 32)` as a mosaic with `columns` tiles in a row, which must divide N. Needs Pillow."""
    from PIL import Image

    tiles = images.reshape(-1, columns, 3, TILE, TILE).transpose(0, 3, 1, 4, 2)
    picture = Image.fromarray(np.ascontiguousarray(tiles.reshape(-1, columns * TILE, 3)))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return stream.getvalue()
