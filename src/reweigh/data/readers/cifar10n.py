"""CIFAR-10N: the training images of CIFAR-10 with labels that people gave them; the test part is CIFAR-10's own."""

from dataclasses import replace
from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import cifar10, human_labels

# The option's words -> names in the file. Three people labelled each image.
LABELS = {
    "worse": "worse_label",  # a wrong label wherever one of the three is wrong: 40.2 % noise
    "aggregate": "aggre_label",  # the majority, 9.0 %
    "random1": "random_label1",  # that of one of them, 17.2 %
    "random2": "random_label2",  # 18.1 %
    "random3": "random_label3",  # 17.6 %
}


def read(raw: Path, labels: str = "worse") -> RawData:
    """The images of `cifar10` beside `raw` with labels from `CIFAR-10_human.pt` in it; inputs uint8 `(N, 3, 32, 32)`.

    `labels` is one of LABELS; Wei et al. (ICLR 2022) describe them. Raises ConfigError for another word, DataError if a
    file is missing or was made for other images.
    """
    images = cifar10.read(Path(raw).parent / "cifar10")
    given = human_labels.load(raw, "CIFAR-10_human.pt", LABELS, labels, images)
    return replace(images, train_labels=given, train_clean_labels=images.train_labels)
