"""iWildCam2020-WILDS 2.0: which of 182 species set off a camera trap? Groups are 323 camera traps.

The official parts: train 129,809 photographs, id_val 7,314 and id_test 8,154 of the same traps; val 14,961 and test
42,791 of other ones.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import DataError

PARTS = ("train", "val", "test", "id_val", "id_test")
SPECIES, TRAPS = 182, 323


def read(raw: Path, side: int = 224, resize: int | None = None, test: str = "test") -> RawData:
    """Photographs in `train/` by `metadata.csv`, in `raw` or in its `iwildcam_v2.0`; row order is that of the file.

    `test` is the official part that is tested on: "test", "val" (other traps), "id_test" or "id_val" (the same ones).
    Class names are those of `categories.csv` where it is there. `side` and `resize` are those of `ImageFiles`. Raises
    DataError if the archive is not unpacked.
    """
    lists.one_of("test", test, PARTS[1:])
    path = lists.unpacked(raw, "metadata.csv", "iwildcam_v2.0.tar.gz", "iwildcam_v2.0")
    rows = lists.table(path, ("split", "filename", "y", "location_remapped"))
    labels = lists.whole_numbers(rows["y"], path, SPECIES)
    traps = lists.whole_numbers(rows["location_remapped"], path, TRAPS)
    parts = np.array(rows["split"])
    if unknown := set(rows["split"]) - set(PARTS):
        raise DataError(f"{path}: split {min(unknown)!r} is none of {', '.join(PARTS)}; get this file again")
    listed = []
    for part in ("train", test):
        kept = np.flatnonzero(parts == part)
        listed.append(lists.Listed([f"train/{rows['filename'][k]}" for k in kept], labels[kept], traps[kept]))
    names = (_species(path.parent / "categories.csv", labels), [f"trap {k}" for k in range(int(traps.max()) + 1)])
    return lists.raw_data(path.parent, *listed, names, side, resize)  # type: ignore[arg-type, call-arg]


def _species(path: Path, labels: np.ndarray) -> list[str]:
    """The name of each label."""
    names = {label: f"species {label}" for label in range(int(labels.max()) + 1)}
    if path.is_file():
        found = lists.table(path, ("y", "name"))
        named = zip(lists.whole_numbers(found["y"], path).tolist(), found["name"], strict=True)
        names |= {label: name for label, name in named if label in names}
    return list(names.values())
