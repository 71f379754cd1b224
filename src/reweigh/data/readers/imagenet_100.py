"""ImageNet-100: the images of ImageNet that are of the hundred classes of a list by Tian et al. (ECCV 2020)."""

from pathlib import Path

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists
from reweigh.errors import DataError


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Classes by `imagenet100.txt` in `raw`, a WordNet id a line, sorted; images in those folders of `imagenet`.

    `side` and `resize` are those of `ImageFiles`. Raises DataError if the list or the images of a class are missing.
    """
    raw = Path(raw)
    listed = raw_file(raw, "imagenet100.txt")
    classes = sorted(lists.lines(listed))
    if not classes or len(set(classes)) != len(classes):
        raise DataError(f"{listed}: is empty or names a class twice; get it again")
    images = raw.parent / "imagenet"
    train, test = (lists.folder(images, part, classes) for part in ("train", "val"))
    return lists.raw_data(images, train, test, (classes, ()), side, resize)
