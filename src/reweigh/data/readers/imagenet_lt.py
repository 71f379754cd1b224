"""ImageNet-LT: 115,846 training images of a thousand classes, 1,280 of the largest down to 5; 50,000 test images.

Lists by Liu et al. (CVPR 2019); the images are those of ImageNet.
"""

from pathlib import Path

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists


def read(raw: Path, side: int = 224, resize: int | None = None, test: str = "test") -> RawData:
    """Images by the lists `ImageNet_LT_train.txt` and `ImageNet_LT_test.txt` in `raw`, below `imagenet` beside it.

    `test` "val" takes the validation list instead, 20 images a class. Lists name `train/WNID/..` and `val/WNID/..`.
    `side` and `resize` are those of `ImageFiles`. Raises DataError if a list is missing or malformed.
    """
    lists.one_of("test", test, ("test", "val"))
    train, tested = (lists.labelled_paths(raw_file(raw, f"ImageNet_LT_{part}.txt")) for part in ("train", test))
    names = lists.directory_names(train, tested)
    return lists.raw_data(Path(raw).parent / "imagenet", train, tested, (names, ()), side, resize)
