"""A slice of CIFAR-10: 1,942 training and 720 test images, bit-exact, small enough to come with the project.

Of each class it has the first images of the official order: 205 airplanes down to 53 ships (a long tail can start at
200), but 220 deer and 800 trucks for two-class experiments; 200 test deer and trucks, 40 of every other class.
"""

from dataclasses import replace
from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import slices
from reweigh.data.readers.cifar10 import CLASSES, scramble

SIZES = (1942, 720)


def read(raw: Path, scrambled: bool = False) -> RawData:
    """The slice from `images.npy` and `examples.csv` in `raw` (see `slices.raw_data`).

    `scrambled` is that of CIFAR-10's reader.
    """
    plain = slices.raw_data(raw, ("images.npy",), CLASSES, SIZES)
    if not scrambled:
        return plain
    return replace(plain, train_inputs=scramble(plain.train_inputs), test_inputs=scramble(plain.test_inputs))  # type: ignore[arg-type]
