"""CIFAR-10: 50,000 training and 10,000 test images of ten classes, 32 x 32 colours.

Two editions. `official`: the batches of the python archive. `reconstruction`: `images.npy`, 59,908 images bit-exact and
92 copies that went through JPEG (`inexact.json` lists them). Both are in the official order.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import damage, pickled
from reweigh.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
TRAIN_SIZE, TEST_SIZE = 50_000, 10_000
VALIDATION = 5_000  # the last training images, which are held out where options are chosen
WHOLE = ("|u1", "<i2", "<i4", "<i8")  # types that labels may have


def read(raw: Path, scrambled: bool = False, official_validation: bool = False) -> RawData:
    """CIFAR-10 from `raw`, the official edition if its batches are there; inputs uint8 `(N, 3, 32, 32)`.

    `scrambled` permutes the pixels of every image as TDR's public code does (see `scramble`). `official_validation`
    measures on the last 5,000 training images instead of the test images, and trains on the 45,000 before them.
    Raises DataError if neither edition is whole.
    """
    whole = all((Path(raw) / name).is_file() for name in BATCHES)
    if (Path(raw) / "images.npy").is_file() and not whole:
        edition, images, labels = "reconstruction", *_arrays(raw)
    else:
        edition, images, labels = "official", *_batches(raw)
    if not len(images) == len(labels) == TRAIN_SIZE + TEST_SIZE:
        raise DataError(f"{raw}: not the 60,000 images of CIFAR-10; delete it and run: reweigh fetch cifar10")
    if scrambled:
        images = scramble(images)
    end = TRAIN_SIZE - VALIDATION if official_validation else TRAIN_SIZE
    tested = slice(end, TRAIN_SIZE if official_validation else None)
    return RawData(
        train_inputs=images[:end],
        train_labels=labels[:end],
        test_inputs=images[tested],
        test_labels=labels[tested],
        class_names=CLASSES,
        edition=edition,
    )


def scramble(images: np.ndarray) -> np.ndarray:
    """The bytes of each image written as (H, W, C), read as (C, H, W): one fixed permutation of 3,072 positions."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(images.shape)


def _arrays(raw: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the reconstruction, training part first."""
    path = raw_file(raw, "labels.npy")
    images = damage.array(raw_file(raw, "images.npy"), (3, 32, 32))
    return images, damage.whole_numbers(damage.array(path, (), WHOLE).tolist(), path, below=len(CLASSES))


def _batches(raw: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the official batches, training part first."""
    batches = [pickled.images(raw_file(raw, name), "labels", len(CLASSES)) for name in BATCHES]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return images, labels
