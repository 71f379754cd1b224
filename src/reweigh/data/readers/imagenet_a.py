"""ImageNet-A (Hendrycks et al., CVPR 2021): 7,500 photographs of 200 classes of ImageNet that a ResNet-50 gets wrong.

Training images are those of `imagenet`. ImageNet-A itself is only tested on, or half of it held out to validate.
"""

from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import lists
from reweigh.errors import DataError


def read(
    raw: Path,
    side: int = 224,
    resize: int | None = None,
    classes: str = "own",
    validation: bool = False,
    test: str = "own",
) -> RawData:
    """Images in `CLASS/` of `raw`, or of its `imagenet-a`, CLASS being a WordNet id; see `beside_imagenet`."""
    return beside_imagenet(raw, "imagenet-a", (side, resize), classes, validation, test)


def beside_imagenet(
    raw: Path, name: str, size: tuple[int, int | None], classes: str, validation: bool, test: str
) -> RawData:
    """A data set of some classes of ImageNet, whose training images lie in `imagenet/train/CLASS/` beside it.

    `classes` is "own": its classes alone, of ImageNet's training images too; or "imagenet": all thousand. The authors
    train on a thousand and compare the logits of the data set's own, which lies between the two. With `validation`,
    half of each class goes to the end of the training part, as group 1 beside group 0 of ImageNet's images, and the
    other half alone is tested on. That is the 2nd, 4th, ... file by name: names begin with the probability of the class
    (ImageNet-A) or with the style (ImageNet-R), so that both halves are alike. `test` is "own" or "imagenet", whose
    test images are in `imagenet/val/CLASS/`. `size` is `side` and `resize` of `ImageFiles`. Raises DataError if an
    archive is not unpacked.
    """
    lists.one_of("classes", classes, ("own", "imagenet"))
    lists.one_of("test", test, ("own", "imagenet"))
    raw = Path(raw)
    place = raw / name if (raw / name).is_dir() else raw
    own = lists.subfolders(place)
    if not own and (raw / f"{name}.tar").is_file():
        raise DataError(f"{raw / name} is missing; unpack it: tar -xf {raw / f'{name}.tar'} -C {raw}")
    if not own:
        raw_file(raw, f"{name}.tar")
    root, names = raw.parent, own if classes == "own" else lists.subfolders(raw.parent / "imagenet" / "train")
    if strange := sorted(set(own) - set(names)):
        raise DataError(f"{root / 'imagenet' / 'train'} has no {strange[0]}; unpack ImageNet to it")
    found = lists.folder(root, place.relative_to(root).as_posix(), own)
    outside = _of_group(lists.Listed(found.paths, np.array([names.index(k) for k in own])[found.labels]), 1)
    train = _of_group(lists.folder(root, "imagenet/train", names), 0)
    if validation:
        held_out = _every_second(outside.labels)
        train, outside = _joined(train, _some(outside, held_out)), _some(outside, ~held_out)
    tested = outside if test == "own" else _of_group(lists.folder(root, "imagenet/val", names), 0)
    return lists.raw_data(root, train, tested, (names, ("imagenet", name)), *size)


def _every_second(labels: np.ndarray) -> np.ndarray:
    """Which examples are the 2nd, 4th, ... of their class, bool (N,).

    >>> _every_second(np.array([0, 0, 0, 1, 2, 2])).tolist()
    [False, True, False, False, False, True]
    """
    seen = np.zeros(labels.max() + 1, np.int64)
    second = np.zeros(len(labels), bool)
    for row, label in enumerate(labels.tolist()):
        second[row] = seen[label] % 2
        seen[label] += 1
    return second


def _of_group(listed: lists.Listed, group: int) -> lists.Listed:
    return lists.Listed(listed.paths, listed.labels, np.full(len(listed.labels), group, np.int64))


def _some(listed: lists.Listed, kept: np.ndarray) -> lists.Listed:
    paths = [path for path, keep in zip(listed.paths, kept.tolist(), strict=True) if keep]
    return lists.Listed(paths, listed.labels[kept], listed.groups[kept])  # type: ignore[index]


def _joined(one: lists.Listed, other: lists.Listed) -> lists.Listed:
    groups: np.ndarray = np.concatenate((one.groups, other.groups))  # type: ignore[arg-type]
    return lists.Listed(one.paths + other.paths, np.concatenate((one.labels, other.labels)), groups)
