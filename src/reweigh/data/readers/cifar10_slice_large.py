"""A larger slice of CIFAR-10: 3,120 training and 1,000 test images, bit-exact, that come with the project.

Of each class it has the first images of the official order: 500 of the first five classes, 140 of the sixth, 120 of
each other, so that there are long tails and steps that start at 500 (ratio 100: down to 5; ratio 10: down to 50), and
120 of every class; 100 test images of each. Images that `cifar10-slice` has too are read from its file.
"""

from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import slices
from reweigh.data.readers.cifar10 import CLASSES

SIZES = (3120, 1000)


def read(raw: Path) -> RawData:
    """The slice from `images.npy`, `more.npy` and `examples.csv` in `raw` (see `slices.raw_data`)."""
    return slices.raw_data(raw, ("images.npy", "more.npy"), CLASSES, SIZES)
