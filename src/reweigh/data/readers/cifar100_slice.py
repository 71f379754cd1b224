"""A slice of CIFAR-100: its first twenty fine labels, 1,300 training and 300 test images, bit-exact.

Of each class it has the first images of the official order: 100 of the first ten classes, 30 of the others, so that
there are long tails and steps that start at 100 (ratio 100: down to 1; ratio 10: down to 10), and 30 of every class; 15
test images of each. Twenty labels are four whole blocks of asymmetric noise.
"""

from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import slices

CLASSES = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"),
    *("bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle"),
)
SIZES = (1300, 300)


def read(raw: Path) -> RawData:
    """The slice from `images.npy` and `examples.csv` in `raw` (see `slices.raw_data`)."""
    return slices.raw_data(raw, ("images.npy",), CLASSES, SIZES)
