"""NEXRAD: is there a bow echo on a radar picture of the United States? (TDR, section 4.4)

The pictures are the archive of the Iowa Environmental Mesonet, one N0R composite every five minutes; which of them show
a bow echo was never published. This reads such pictures together with anyone's own list of labels.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import damage
from reweigh.errors import DataError

PICTURE = (2600, 6000)
SIZE = (52, 180)
BLOCK = (50, 33)
TRAIN_YEAR, TEST_YEAR = "2008", "2009"
STRONGEST_DBZ = 75
CORRECT = "correct it: columns file,label and labels 0 or 1"


def read(raw: Path) -> RawData:
    """Pictures listed in `labels.csv` (columns `file,label`; 1 = bow echo) in `raw`; inputs uint8 `(N, 1, 52, 180)`.

    Files are named as in the archive, `n0r_YYYYMMDDHHMM.png`; those of 2008 are for training, those of 2009 for tests.
    A value is 255/75 times the mean reflectivity of a block of 50 x 33 pixels, in dBZ from 0 to 75; 30 columns are
    cropped on either side (the paper says only 52 x 180; the blocks are ours). Needs Pillow. Raises DataError if the
    list is missing (it was never published) or a picture is not such a composite.
    """
    listed = _listed(Path(raw) / "labels.csv")
    parts = {}
    for part, year in (("train", TRAIN_YEAR), ("test", TEST_YEAR)):
        mine = [(name, label) for name, label in listed if Path(name).name.startswith(f"n0r_{year}")]
        if not mine:
            raise DataError(
                f"{Path(raw) / 'labels.csv'}: lists no picture n0r_{year}*.png, for the {part} part; add some"
            )
        images = [_reduced(Path(raw) / name) for name, _ in mine]
        parts[f"{part}_inputs"] = np.array(images, np.uint8).reshape(-1, 1, *SIZE)
        parts[f"{part}_labels"] = np.array([label for _, label in mine], np.int64)
    return RawData(**parts, class_names=("no bow echo", "bow echo"))  # type: ignore[arg-type]


def _listed(path: Path) -> list[tuple[str, int]]:
    """The labelled files, in the order of the list."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: TDR's bow-echo labels were never published; write one (file,label) to use your own"
        )
    rows = damage.table(path, ("file", "label"), CORRECT)
    labels = damage.whole_numbers([row["label"] for row in rows], path, 2, CORRECT)
    return [(row["file"], int(label)) for row, label in zip(rows, labels, strict=True)]


def _reduced(path: Path) -> np.ndarray:
    """One composite as uint8 `(52, 180)`."""
    top, left = ((full - count * block) // 2 for full, count, block in zip(PICTURE, SIZE, BLOCK, strict=True))
    cropped = _reflectivity(path)[top : top + SIZE[0] * BLOCK[0], left : left + SIZE[1] * BLOCK[1]]
    blocks = cropped.reshape(SIZE[0], BLOCK[0], SIZE[1], BLOCK[1]).mean(axis=(1, 3))
    return np.rint(blocks * (255 / STRONGEST_DBZ)).astype(np.uint8)


def _reflectivity(path: Path) -> np.ndarray:
    """Reflectivity in dBZ, float32 `(2600, 6000)`, 0 where there is none.

    With 4 bits a pixel, colour i of the palette stands for 5 i dBZ; with 8 bits, the archive's ramp of N0R, it stands
    for 5 (i - 7) dBZ, of which only what lies between 0 and 75 counts.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise DataError(f"{path}: reading a picture needs Pillow; install it with: pip install pillow") from None
    with damage.refused(path, "a picture that can be read", "get it from the archive again"):
        if not path.is_file():
            raise DataError(f"{path} is listed in labels.csv but missing; get it from the archive")
        with Image.open(path) as picture:
            fits = picture.mode == "P" and picture.size == PICTURE[::-1]
            pixels = np.asarray(picture) if fits else None
        bits = path.read_bytes()[24]
    if pixels is None or bits not in (4, 8):
        raise DataError(f"{path}: not a composite of {PICTURE[0]} x {PICTURE[1]} palette pixels")
    first = 0 if bits == 4 else 7
    return ((np.arange(256, dtype=np.float32) - first) * 5).clip(0, STRONGEST_DBZ)[pixels]
