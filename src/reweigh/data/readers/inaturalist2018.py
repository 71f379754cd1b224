"""iNaturalist 2018: 437,513 training and 24,426 validation photographs of 8,142 species, 1,000 down to 2 of each.

The validation part, three images a species, is the test part: labels of the test photographs were never published.
"""

from pathlib import Path
from typing import Any

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import DataError


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Images by `train2018.json` and `val2018.json` in `raw`, which name `train_val2018/..` below it.

    Classes are the categories in the order of their ids. `side` and `resize` are those of `ImageFiles`. Raises
    DataError if a file is missing, not unpacked or malformed.
    """
    raw = Path(raw)
    paths = {part: lists.unpacked(raw, f"{part}2018.json", f"{part}2018.json.tar.gz") for part in ("train", "val")}
    bodies = {part: lists.json_object(path) for part, path in paths.items()}
    try:
        categories = {entry["id"]: str(entry.get("name", entry["id"])) for entry in bodies["train"]["categories"]}
        label_of = {category: label for label, category in enumerate(sorted(categories))}
        train, test = (_listed(bodies[part], label_of) for part in ("train", "val"))
    except Exception as error:  # whatever JSON can hold instead: KeyError, TypeError, AttributeError, OverflowError ...
        raise DataError(
            f"{raw}: train2018.json and val2018.json are not annotated images of the same categories ({error!r})"
        ) from None
    return lists.raw_data(raw, train, test, ([categories[category] for category in label_of], ()), side, resize)


def _listed(body: dict[str, Any], label_of: dict[int, int]) -> lists.Listed:
    """The images in the order of the file, each with the label of its one annotation."""
    category = {entry["image_id"]: entry["category_id"] for entry in body["annotations"]}
    labels = [label_of[category[image["id"]]] for image in body["images"]]
    return lists.Listed([image["file_name"] for image in body["images"]], np.array(labels, np.int64))
