"""Builds what lies in this directory from a mirror of the raw data: `python data/embedded/build.py MIRROR`.

Run once, by hand, when an embedded data set changes; nothing calls it. Needs this package, numpy and Pillow.

- `mnist/*.xz`: the four idx files of MNIST, whole.
- `adult/*.xz`: the two files of Adult, whole.
- `cifar10-slice/`: 2,662 images of CIFAR-10, bit-exact (none of those that the mirror has as JPEG copies only), as one
  lossless WebP mosaic, with a table of where each image is in the official order. Of each class it has the first ones
  of that order: enough deer and trucks for a two-class experiment, and a long tail that starts at 200 airplanes.
"""

import gzip
import json
import lzma
import sys
from pathlib import Path

import numpy as np

from reweigh.data.mosaic import encode

HERE = Path(__file__).parent
MNIST = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
ADULT = ("adult.data", "adult.test")
SLICE_TRAIN = (205, 172, 145, 122, 220, 88, 74, 63, 53, 800)
SLICE_TEST = (40, 40, 40, 40, 200, 40, 40, 40, 40, 200)
MOSAIC_COLUMNS = 22


def pack(content: bytes, path: Path) -> None:
    """Write `content` as .xz, as small as it gets: four literal context bits suit images and tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0}]
    path.write_bytes(lzma.compress(content, check=lzma.CHECK_SHA256, filters=filters))


def choose(labels: np.ndarray, inexact: set[int]) -> list[tuple[str, int, int]]:
    """The slice as (part, index in the official part, label): the first exact images of each class."""
    chosen = []
    for part, begin, end, counts in (("train", 0, 50000, SLICE_TRAIN), ("test", 50000, 60000, SLICE_TEST)):
        exact = [i for i in range(begin, end) if i not in inexact]
        for label, count in enumerate(counts):
            mine = [i for i in exact if labels[i] == label][:count]
            chosen.extend((part, i - begin, label) for i in mine)
    return chosen


def build_slice(mirror: Path, goal: Path) -> None:
    """Write the mosaic and its table of examples."""
    images = np.load(mirror / "images.npy", mmap_mode="r")
    inexact = {item["index"] for item in json.loads((mirror / "inexact.json").read_text())["items"]}
    chosen = choose(np.load(mirror / "labels.npy"), inexact)
    rows = np.array([index + (50000 if part == "test" else 0) for part, index, _ in chosen])
    goal.mkdir(parents=True, exist_ok=True)
    (goal / "images.npy.webp").write_bytes(encode(images[rows], MOSAIC_COLUMNS))
    lines = ["part,index,label", *(f"{part},{index},{label}" for part, index, label in chosen)]
    (goal / "examples.csv").write_text("\n".join(lines) + "\n")


def build(mirror: Path) -> None:
    """Write all embedded files."""
    for name in MNIST:
        pack(gzip.decompress((mirror / "mnist" / f"{name}.gz").read_bytes()), HERE / "mnist" / f"{name}.xz")
    for name in ADULT:
        pack((mirror / "adult" / name).read_bytes(), HERE / "adult" / f"{name}.xz")
    build_slice(mirror / "cifar-10", HERE / "cifar10-slice")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
