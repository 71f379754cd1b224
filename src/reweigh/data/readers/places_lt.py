"""Places-LT: 62,500 training images of 365 scenes, 4,980 of the largest class down to 5; 36,500 test images.

Lists by Liu et al. (CVPR 2019); the images are those of Places365-Standard, in its layout of one directory a class.
"""

from pathlib import Path

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists

UNPACKED = "places365_standard"  # what places365standard_easyformat.tar unpacks to


def read(raw: Path, side: int = 224, resize: int | None = None, test: str = "test") -> RawData:
    """Images by the lists `Places_LT_train.txt` and `Places_LT_test.txt` in `raw`, below `places365_standard` or there.

    `test` "val" takes the validation list instead, 20 images a class. Lists name `train/SCENE/..` and `val/SCENE/..`.
    `side` and `resize` are those of `ImageFiles`. Raises DataError if a list is missing or malformed.
    """
    lists.one_of("test", test, ("test", "val"))
    train, tested = (lists.labelled_paths(raw_file(raw, f"Places_LT_{part}.txt")) for part in ("train", test))
    names = lists.directory_names(train, tested)
    images = Path(raw) / UNPACKED
    return lists.raw_data(images if images.is_dir() else Path(raw), train, tested, (names, ()), side, resize)
