"""CIFAR-100N: the training images of CIFAR-100 with labels that people gave them; the test part is CIFAR-100's own."""

from dataclasses import replace
from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import cifar100, human_labels

# The option's words -> names in the file.
LABELS = {"noisy": "noisy_label"}  # one person's label, 40.2 % noise


def read(raw: Path, labels: str = "noisy") -> RawData:
    """The images of `cifar100` beside `raw` with labels from `CIFAR-100_human.pt` in it; inputs uint8 `(N, 3, 32, 32)`.

    `labels` is one of LABELS; Wei et al. (ICLR 2022) describe them. Raises ConfigError for another word, DataError if a
    file is missing or was made for other images.
    """
    images = cifar100.read(Path(raw).parent / "cifar100")
    given = human_labels.load(raw, "CIFAR-100_human.pt", LABELS, labels, images)
    return replace(images, train_labels=given, train_clean_labels=images.train_labels)
