"""ImageNet-1K (ILSVRC 2012): 1,281,167 training and 50,000 validation images of a thousand classes, which stay on disk.

The validation images are the test part: labels of the official test images were never published.
"""

from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import DataError


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Images in `train/CLASS/` and `val/CLASS/` of `raw`, CLASS being a WordNet id, classes in alphabetical order.

    Any data set in such folders can be read so; its test images may also be in `test/`. `side` and `resize` are those
    of `ImageFiles`. Raises DataError if the archives are not unpacked.
    """
    raw = Path(raw)
    classes = lists.subfolders(raw / "train")
    if not classes:
        raise DataError(
            f"{raw / 'train'} has no classes; with the three archives in {raw}, unpack them: python -c "
            f"\"from torchvision.datasets import ImageNet as I; I('{raw}', 'train'); I('{raw}', 'val')\""
        )
    test = "val" if (raw / "val").is_dir() else "test"
    train, test = (lists.folder(raw, part, classes) for part in ("train", test))  # type: ignore[assignment]
    return lists.raw_data(raw, train, test, (classes, ()), side, resize)  # type: ignore[arg-type]
