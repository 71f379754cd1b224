"""Oxford-IIIT Pet (Parkhi et al., CVPR 2012): 37 breeds of cats and dogs, 3,680 training and 3,669 test photographs."""

from pathlib import Path

from reweigh.data.arrays import RawData
from reweigh.data.readers import lists
from reweigh.errors import DataError


def read(raw: Path, side: int = 224, resize: int | None = None) -> RawData:
    """Photographs `images/BREED_NUMBER.jpg` by `annotations/trainval.txt` and `test.txt` in `raw`; labels are breeds.

    A line is `BREED_NUMBER breed species number`, breeds counted from 1. `side` and `resize` are those of `ImageFiles`.
    Raises DataError if the archives are not unpacked, or if the lists do not fit together.
    """
    path = lists.unpacked(raw, "annotations/trainval.txt", "annotations.tar.gz")
    found = [_listed(path.with_name(name)) for name in ("trainval.txt", "test.txt")]
    breeds: dict[int, str] = {}
    for listed in found:
        for image, label in zip(listed.paths, listed.labels.tolist(), strict=True):
            breed = image.removeprefix("images/").rpartition("_")[0].replace("_", " ")
            if breeds.setdefault(label, breed) != breed:
                raise DataError(f"{path.parent}: breed {label + 1} is {breeds[label]!r} and {breed!r}; {lists.AGAIN}")
    if set(breeds) != set(range(len(breeds))) or len(set(breeds.values())) != len(breeds):
        raise DataError(f"{path.parent}: its breeds are not counted from 1 without a gap; {lists.AGAIN}")
    names = [breeds[label] for label in range(len(breeds))]
    return lists.raw_data(path.parents[1], found[0], found[1], (names, ()), side, resize)


def _listed(path: Path) -> lists.Listed:
    """The photographs of a list, with labels counted from 0."""
    rows = [line.split() for line in lists.lines(path)]
    if wrong := [row for row in rows if len(row) != 4 or "_" not in row[0]]:
        raise DataError(f"{path}: {' '.join(wrong[0])!r} is not `BREED_NUMBER breed species number`; {lists.AGAIN}")
    labels = lists.whole_numbers([row[1] for row in rows], path) - 1
    return lists.Listed([f"images/{row[0]}.jpg" for row in rows], labels)
