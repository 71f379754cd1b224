"""CIFAR-10N, a slice: the images of `cifar10-slice-large` with labels that people gave to the 3,120 training images."""

from dataclasses import replace
from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import cifar10_slice_large, human_labels
from reweigh.data.readers.cifar10n import LABELS


def read(raw: Path, labels: str = "worse") -> RawData:
    """The images of `cifar10-slice-large` beside `raw`, with labels from `labels.csv` in it, one line an image.

    Inputs are uint8 `(N, 3, 32, 32)`. `labels` is one of CIFAR-10N's LABELS; its columns have the names that they have
    there. Raises ConfigError for another word, DataError if a file is missing or was made for other images.
    """
    images = cifar10_slice_large.read(Path(raw).parent / "cifar10-slice-large")
    given = human_labels.load(raw, "labels.csv", LABELS, labels, images)
    return replace(images, train_labels=given, train_clean_labels=images.train_labels)
