"""A slice of CIFAR-10: 1,942 training and 720 test images, bit-exact, small enough to come with the project.

Of each class it has the first images of the official order: 205 airplanes down to 53 ships (a long tail can start at
200), but 220 deer and 800 trucks for two-class experiments; 200 test deer and trucks, 40 of every other class.
"""

import csv
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.cifar10 import CLASSES, scramble
from reweigh.errors import DataError


def read(raw: Path, scrambled: bool = False) -> RawData:
    """The slice from `images.npy` and `examples.csv` in `raw`; inputs uint8 `(N, 3, 32, 32)`.

    Row i of a part is the i-th of its lines in `examples.csv`, whose `index` is the image's place in the official part.
    `scrambled` is that of CIFAR-10's reader. Raises DataError if a file is missing or the two do not fit together.
    """
    images = np.load(raw_file(raw, "images.npy"), allow_pickle=False)
    with open(raw_file(raw, "examples.csv"), newline="") as file:
        examples = list(csv.DictReader(file))
    if images.shape != (len(examples), 3, 32, 32):
        raise DataError(f"{raw}: {len(images)} images but {len(examples)} examples; delete it and fetch it again")
    if scrambled:
        images = scramble(images)
    labels = np.array([int(example["label"]) for example in examples], np.int64)
    train = np.array([example["part"] == "train" for example in examples])
    return RawData(images[train], labels[train], images[~train], labels[~train], class_names=CLASSES, edition="slice")
