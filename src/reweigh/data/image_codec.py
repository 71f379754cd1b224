"""Small images, packed without loss by what comes with Python: predicted from their neighbours, the rest by lzma.

The median predictor of JPEG-LS (LOCO-I; Weinberger, Seroussi, Sapiro 2000) on the green plane and on the differences
red − green and blue − green. CIFAR takes about as many bytes as lossless WebP, and no Pillow is needed to read it.
"""

import lzma
import sys

import numpy as np

from reweigh.errors import DataError

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 16, "lc": 4, "lp": 0, "pb": 0}]
GREEN = 1


def encode(images: np.ndarray) -> bytes:
    """Images uint8 `(N, C, H, W)` as bytes; three channels are taken for red, green and blue."""
    plain = images.astype(np.int16)
    if images.shape[1] == 3:
        plain = _less_green(plain)
    rest = (plain - _predicted(plain)).astype(np.uint8)  # modulo 256, which loses nothing: see `decode`
    planes = np.ascontiguousarray(rest.transpose(1, 0, 2, 3))
    return lzma.compress(planes.tobytes(), format=lzma.FORMAT_RAW, filters=FILTERS)


def decode(content: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The images uint8 `shape` = (N, C, H, W) that `encode` packed. Raises DataError for anything else."""
    count, channels, height, width = shape
    most = count * channels * height * width
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
        unpacked = unpacker.decompress(content, min(most, sys.maxsize - 1) + 1)
    except (lzma.LZMAError, EOFError, MemoryError) as error:
        raise DataError(f"not packed images ({error})") from None
    if len(unpacked) > most:
        raise DataError(f"more than the {most} values that {shape} has")
    planes = np.frombuffer(unpacked, np.uint8)
    if planes.size != count * channels * height * width:
        raise DataError(f"{planes.size} values where {shape} has {count * channels * height * width}")
    rest = np.ascontiguousarray(planes.reshape(channels, count, height, width).transpose(2, 3, 0, 1))  # (H, W, C, N)
    values = np.zeros(rest.shape, np.int16)
    for y in range(height):
        for x in range(width):
            whole = _of_neighbours(values, y, x) + rest[y, x]
            if channels == 3:  # a difference is known modulo 256, and its sum with green lies from 0 to 255
                green = whole[GREEN] & 255
                whole = ((whole + green) & 255) - green
                whole[GREEN] = green
                values[y, x] = whole
            else:
                values[y, x] = whole & 255
    if channels == 3:
        green = values[:, :, GREEN : GREEN + 1].copy()
        values += green
        values[:, :, GREEN : GREEN + 1] = green
    return np.ascontiguousarray(values.transpose(3, 2, 0, 1).astype(np.uint8))


def _less_green(images: np.ndarray) -> np.ndarray:
    green = images[:, GREEN : GREEN + 1]
    differences = images - green
    differences[:, GREEN : GREEN + 1] = green
    return differences


def _predicted(images: np.ndarray) -> np.ndarray:
    """What each value is expected to be by those to its left, above it and between the two. (N, C, H, W) int16."""
    left, up, corner = (np.zeros_like(images) for _ in range(3))
    left[..., 1:] = images[..., :-1]
    up[..., 1:, :] = images[..., :-1, :]
    corner[..., 1:, 1:] = images[..., :-1, :-1]
    # At the left edge the value above stands in for what lies outside, and at the upper edge the value to the left.
    left[..., 0] = up[..., 0]
    up[..., 0, :] = left[..., 0, :]
    corner[..., 0, :] = left[..., 0, :]
    corner[..., 1:, 0] = up[..., 1:, 0]
    return _median(left, up, corner)


def _of_neighbours(values: np.ndarray, y: int, x: int) -> np.ndarray:
    """The same for one place, where `values` (H, W, C, N) are known up to there. -> int16 (C, N)."""
    if y == 0 and x == 0:
        return np.zeros_like(values[0, 0])
    if y == 0:
        return values[0, x - 1]
    if x == 0:
        return values[y - 1, 0]
    return _median(values[y, x - 1], values[y - 1, x], values[y - 1, x - 1])


def _median(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The median of left, up and left + up - corner."""
    low, high = np.minimum(left, up), np.maximum(left, up)
    return np.clip(left + up - corner, low, high)
