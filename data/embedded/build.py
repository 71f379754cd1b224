"""Builds what lies in this directory from a mirror of the raw data: `python data/embedded/build.py MIRROR [NAME...]`.

Run once, by hand, when an embedded data set changes; nothing calls it. Needs this package, numpy and Pillow.

- `mnist/*.xz`: the four idx files of MNIST, whole.
- `adult/*.xz`: the two files of Adult, whole.
- `cifar10-slice/`, `cifar10-slice-large/`, `cifar100-slice/`: the first images of each class in the official order,
  bit-exact (none of those that the mirror has as JPEG copies only), as lossless WebP mosaics, with a table of where
  each image is in the official order. The large slice has those of the small one from its mosaic.
- `cifar10n-slice/`: CIFAR-10N's labels for the training images of the large slice, in its order, and the true labels.
- `waterbirds-small/`: `waterbirds-small.npz.xz` and `.json` as they were published beside the features of the mirror's
  `waterbirds`; nothing here makes them. Features only, no image: for research and education only.
"""

import gzip
import json
import lzma
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reweigh.data.mosaic import encode
from reweigh.data.readers import cifar100, pickled
from reweigh.data.readers.cifar10n import LABELS

HERE = Path(__file__).parent
MNIST = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
ADULT = ("adult.data", "adult.test")
TRAIN_SIZE = 50_000  # of CIFAR-10 and CIFAR-100

# Images of each class, training and test. Small: enough deer and trucks for a two-class experiment, and a long tail
# that starts at 200 airplanes. The others: see their readers.
SMALL = ((205, 172, 145, 122, 220, 88, 74, 63, 53, 800), (40, 40, 40, 40, 200, 40, 40, 40, 40, 200))
LARGE = ((*[500] * 5, 140, *[120] * 4), (100,) * 10)
HUNDRED = ((*[100] * 10, *[30] * 10), (15,) * 20)

Example = tuple[str, int, int]  # part, index in the official part, label


def pack(content: bytes, path: Path) -> None:
    """Write `content` as .xz, as small as it gets: four literal context bits suit images and tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0}]
    path.write_bytes(lzma.compress(content, check=lzma.CHECK_SHA256, filters=filters))


def choose(labels: np.ndarray, inexact: set[int], sizes: tuple[Sequence[int], Sequence[int]]) -> list[Example]:
    """A slice of the training and test part, one after the other in `labels`: the first exact images of each class."""
    chosen = []
    for part, begin, end, counts in (("train", 0, TRAIN_SIZE, sizes[0]), ("test", TRAIN_SIZE, len(labels), sizes[1])):
        exact = [i for i in range(begin, end) if i not in inexact]
        for label, count in enumerate(counts):
            mine = [i for i in exact if labels[i] == label][:count]
            chosen.extend((part, i - begin, label) for i in mine)
    return chosen


def pixels(images: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """The images of some examples."""
    return images[[index + (TRAIN_SIZE if part == "test" else 0) for part, index, _ in examples]]


def table(columns: str, lines: Sequence[Sequence[object]]) -> str:
    """A CSV table."""
    return "\n".join([columns, *(",".join(map(str, line)) for line in lines)]) + "\n"


def cifar10(mirror: Path) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Images and labels of CIFAR-10, training part first, and which images are not exact."""
    folder = mirror / "cifar-10"
    inexact = {item["index"] for item in json.loads((folder / "inexact.json").read_text())["items"]}
    return np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"), inexact


def build_mnist(mirror: Path, goal: Path) -> None:
    for name in MNIST:
        pack(gzip.decompress((mirror / "mnist" / f"{name}.gz").read_bytes()), goal / f"{name}.xz")


def build_adult(mirror: Path, goal: Path) -> None:
    for name in ADULT:
        pack((mirror / "adult" / name).read_bytes(), goal / f"{name}.xz")


def build_small(mirror: Path, goal: Path) -> None:
    images, labels, inexact = cifar10(mirror)
    chosen = choose(labels, inexact, SMALL)
    goal.mkdir(parents=True, exist_ok=True)
    (goal / "images.npy.webp").write_bytes(encode(pixels(images, chosen), columns=22))
    (goal / "examples.csv").write_text(table("part,index,label", chosen))


def build_large(mirror: Path, goal: Path) -> None:
    """Write the images that the small slice lacks; the table says at which row of both each image is."""
    images, labels, inexact = cifar10(mirror)
    small, large = (choose(labels, inexact, sizes) for sizes in (SMALL, LARGE))
    more = [example for example in large if example not in set(small)]
    row = {example: place for place, example in enumerate([*small, *more])}
    goal.mkdir(parents=True, exist_ok=True)
    (goal / "more.npy.webp").write_bytes(encode(pixels(images, more), columns=7))
    lines = [(*example, row[example]) for example in large]
    pack(table("part,index,label,row", lines).encode(), goal / "examples.csv.xz")


def build_human(mirror: Path, goal: Path) -> None:
    _, labels, inexact = cifar10(mirror)
    rows = [index for part, index, _ in choose(labels, inexact, LARGE) if part == "train"]
    arrays, names = pickled.load_saved(mirror / "cifar-n" / "CIFAR-10_human.pt"), ("clean_label", *LABELS.values())
    lines = np.stack([arrays[name][rows] for name in names], axis=1).tolist()
    pack(table(",".join(names), lines).encode(), goal / "labels.csv.xz")


def build_hundred(mirror: Path, goal: Path) -> None:
    raw = cifar100.read(mirror / "cifar-100" / "cifar-100-python")
    labels = np.concatenate((raw.train_labels, raw.test_labels))
    chosen = choose(labels, set(), HUNDRED)
    goal.mkdir(parents=True, exist_ok=True)
    both = np.concatenate((raw.train_inputs, raw.test_inputs))
    (goal / "images.npy.webp").write_bytes(encode(pixels(both, chosen), columns=4))
    pack(table("part,index,label", chosen).encode(), goal / "examples.csv.xz")


BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "mnist": build_mnist,
    "adult": build_adult,
    "cifar10-slice": build_small,
    "cifar10-slice-large": build_large,
    "cifar10n-slice": build_human,
    "cifar100-slice": build_hundred,
}

if __name__ == "__main__":
    for name in sys.argv[2:] or BUILDERS:
        BUILDERS[name](Path(sys.argv[1]), HERE / name)
