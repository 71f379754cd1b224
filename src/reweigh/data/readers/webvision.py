"""WebVision 1.0: 2.4 million web pictures, found by searching for the classes of ImageNet; 50,000 checked ones."""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import ConfigError, DataError

SOURCES = {"google": ("google",), "flickr": ("flickr",), "both": ("google", "flickr")}
VALIDATION = ("val_images_256", "val_images")  # resized to 256 pixels, or as they were found


def read(
    raw: Path, side: int = 224, resize: int | None = None, source: str = "both", classes: int | None = None
) -> RawData:
    """Images by `info/train_filelist_google.txt`, `.._flickr.txt` and `info/val_filelist.txt` in `raw`, below it.

    `source` is "google", "flickr" or "both". `classes` takes the first so many classes only: 50, with source "google",
    is what papers call mini-WebVision. `side` and `resize` are those of `ImageFiles`. Raises DataError if a list is
    missing or malformed.
    """
    raw, info = Path(raw), Path(raw) / "info"
    sources = SOURCES[lists.one_of("source", source, tuple(SOURCES))]
    names = [line.partition(" ")[2] for line in lists.lines(lists.unpacked(raw, "info/synsets.txt", "info.tar"))]
    if classes is not None and classes not in range(2, len(names) + 1):
        raise ConfigError(f"reader option classes {classes} is impossible; it can be from 2 to {len(names)}")
    train = [lists.labelled_paths(info / f"train_filelist_{source}.txt") for source in sources]
    test = lists.labelled_paths(info / "val_filelist.txt")
    directory = next((name for name in VALIDATION if (raw / name).is_dir()), VALIDATION[0])
    tested = lists.Listed([f"{directory}/{path}" for path in test.paths], test.labels)
    joined = lists.Listed(
        [path for part in train for path in part.paths], np.concatenate([part.labels for part in train])
    )
    for listed, where in ((joined, "train_filelist"), (tested, "val_filelist.txt")):
        if len(listed.labels) and listed.labels.max() >= len(names):
            raise DataError(f"{info / where}: has a label that is not one of {len(names)}; get it again")
    kept = names[:classes]
    return lists.raw_data(raw, _first(joined, len(kept)), _first(tested, len(kept)), (kept, ()), side, resize)


def _first(listed: lists.Listed, classes: int) -> lists.Listed:
    """The images of the first `classes` classes."""
    kept = np.flatnonzero(listed.labels < classes)
    return lists.Listed([listed.paths[k] for k in kept], listed.labels[kept])
