"""What `reweigh import` finds in a folder of images: `CLASS/...`, or `train/CLASS/...` beside `val` or `test`.

Every image is read once, so that one that cannot be is named now. Hidden files and folders are passed over.
"""

import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from reweigh.config.lookup import suggestion
from reweigh.data import local_split
from reweigh.data.local_cards import BESIDE, LIST, TEST
from reweigh.errors import ConfigError, DataError
from reweigh.planning import memory
from reweigh.planning.import_parts import (
    MOST_CLASSES,
    Asked,
    Found,
    Progress,
    check_classes,
    counted,
    in_order,
    sizes,
)
from reweigh.spreadsheets import is_formula
from reweigh.terminal import printable

SIDE = 32
SIDES = (8, 512)
LONGEST = 256  # MiB of the file of an image; of its pixels Pillow takes 179 million
TRAIN = "train"
OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")  # what a decoder calls bytes that lie in no file
TESTS = ("test", "val", "valid", "validation")  # the part that is tested on: the first of these that there is


class Listed(NamedTuple):
    """One image: its path below the folder, its class, and its part, empty where that is yet to be drawn."""

    path: str
    label: str
    part: str
    sha256: str = ""


class Tree(NamedTuple):
    """What lies in a folder: its images, the folder that is tested on if there is one, and files passed over."""

    images: list[Listed]
    tested_on: str
    others: int
    left_out: list[dict[str, str]]


def found(place: Path, asked: Asked, progress: Progress) -> Found:
    """The card and the list of a folder of images. Raises ConfigError for what was asked, DataError for the images."""
    side = SIDE if asked.side is None else asked.side
    if not SIDES[0] <= side <= SIDES[1]:
        raise ConfigError(f"--side is {side}; images are brought to {SIDES[0]} to {SIDES[1]} pixels a side")
    tree = _tree(place)
    if tree.tested_on and asked.test is not None:
        raise ConfigError(f"{printable(place)} has a part to test on, {tree.tested_on}; leave --test out")
    classes = in_order({image.label for image in tree.images})
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"{printable(place)} has {len(classes):,} folders; at most {MOST_CLASSES:,} classes are trained on"
        )
    _check_memory(place, len(tree.images), side)
    readable, unreadable = _read(place, tree.images, side, progress)
    if unreadable and not asked.skip_unreadable:
        raise DataError(_unreadable(place, unreadable, len(tree.images)))
    counts = dict.fromkeys(classes, 0)
    for image in readable:
        counts[image.label] += 1
    check_classes(place, "class", counts)
    labels = np.array([classes.index(image.label) for image in readable], np.int64)
    share = TEST if asked.test is None else asked.test
    if tree.tested_on:
        tested = np.array([image.part == "test" for image in readable], bool)
        _check_parts(place, tree.tested_on, classes, labels, tested)
    else:
        tested = local_split.drawn_for_test(labels, None, share, asked.seed)
    listed = _list(readable, tested)
    card = {
        "kind": "folder", "sha256": hashlib.sha256(listed).hexdigest(), "bytes": len(listed),
        "label": {"column": None, "classes": classes}, "group": None, "columns": [],
        "dropped": [*tree.left_out, *({"name": name, "why": why} for name, why in unreadable)],
        "read": None, "side": side,
        "split": {"test": tree.tested_on, "seed": None, "stratified": "as the folders are"} if tree.tested_on
                 else {"test": share, "seed": asked.seed, "stratified": "label"},
        "inputs": [3, side, side],
        "sizes": {part: sizes(labels[rows], None, len(classes), 0) for part, rows in (("train", ~tested),
                                                                                      ("test", tested))},
    }  # fmt: skip
    return Found(card, listed, _notes(tree, readable, tested))


# --- what lies there -------------------------------------------------------------------------------------------------


def _tree(place: Path) -> Tree:
    """The images below a folder, class by class. Raises DataError if it is not laid out by classes."""
    folders = _folders(place)
    if not folders:
        raise DataError(
            f"{printable(place)} has no folders in it; images lie in a folder for each class, CLASS/..., or in "
            "train/CLASS/... and val/CLASS/..."
        )
    parts = [name for name in TESTS if name in folders and _folders(place / name)]
    if TRAIN not in folders or (not parts and set(folders) - {TRAIN, *TESTS}):
        images, others = _images(place, "", folders, "")
        return Tree(images, "", others, [])
    tested_on = parts[0] if parts else ""
    beside = f"{BESIDE} {TRAIN}{f' and {tested_on}' if tested_on else ''}, which are read"
    left_out = [{"name": name, "why": beside} for name in folders if name not in (TRAIN, tested_on)]
    classes = _classes_in(place / TRAIN)
    images, others = _images(place, TRAIN, classes, TRAIN if tested_on else "")
    if tested_on:
        _check_same(place, tested_on, classes, _folders(place / tested_on))
        tested, more = _images(place, tested_on, classes, "test")
        images, others = [*images, *tested], others + more
    return Tree(images, tested_on, others, left_out)


def _check_same(place: Path, tested_on: str, of_train: list[str], of_test: list[str]) -> None:
    """Raise DataError for a class folder that only one of the two parts has."""
    for one, other, more, fewer in ((TRAIN, tested_on, of_train, of_test), (tested_on, TRAIN, of_test, of_train)):
        if alone := sorted(set(more) - set(fewer)):
            raise DataError(
                f"{printable(place)}: {one} has the class {alone[0]!r} and {other} has "
                f"not{suggestion(alone[0], fewer)}; "
                "give both the same class folders"
            )


def _folders(place: Path) -> list[str]:
    """The folders in a folder that are not hidden, sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{printable(place)} cannot be read ({error.strerror}); allow reading it") from None


def _classes_in(part: Path) -> list[str]:
    if not (classes := _folders(part)):
        raise DataError(f"{printable(part)} has no folders in it; images lie in a folder for each class, CLASS/...")
    return classes


def _images(place: Path, below: str, classes: list[str], part: str) -> tuple[list[Listed], int]:
    """The images of each class, sorted, and how many files are none. Raises DataError for a class without any."""
    from reweigh.data.readers.lists import IMAGE_SUFFIXES  # imports torch too

    listed, others = [], 0
    for label in classes:
        files = sorted(_files(place / below / label))
        images = [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
        if not images:
            raise DataError(
                f"{printable(place / below / label)} has no images ({', '.join(IMAGE_SUFFIXES)}); put some into it, or "
                "import a folder without it"
            )
        others += len(files) - len(images)
        prefix = f"{below}/{label}" if below else label
        listed += [Listed(f"{prefix}/{image}", label, part) for image in images]
    for image in listed:
        if any(map(is_formula, (image.label, PurePosixPath(image.path).parts[0]))):  # a class of the name -1 is none
            raise DataError(
                f"{printable(place / image.path)}: a table that names this would hold a formula, as it begins with "
                f"{image.path[0]!r}; rename the folder so that it begins with a letter"
            )
    try:
        "".join(image.path for image in listed).encode()
    except UnicodeEncodeError:
        raise DataError(f"{printable(place)}: the name of a file in it is not Unicode; give it another name") from None
    return listed, others


def _files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder that are not hidden. A link to a folder above itself is not followed again."""
    above: dict[str, set[tuple[int, int]]] = {}
    for where, folders, files in os.walk(folder, followlinks=True):
        found = os.stat(where)
        own = (found.st_dev, found.st_ino)
        before = above.get(os.path.dirname(where), set()) if where != str(folder) else set()
        folders[:] = [] if own in before else [name for name in folders if not name.startswith(".")]
        above[where] = before | {own}
        if own not in before:
            for name in files:
                if not name.startswith("."):
                    yield Path(where, name).relative_to(folder).as_posix()


# --- whether it can be read ------------------------------------------------------------------------------------------


def _check_memory(place: Path, images: int, side: int) -> None:
    needed, left = images * 3 * side**2, memory.left()
    if 2 * needed > left:
        raise DataError(
            f"{printable(place)}: {images:,} images of {side} x {side} take {needed / 2**20:,.0f} MiB, "
            f"{left / 2**20:,.0f} "
            "MiB of memory are free; use a smaller --side, or import a part of them"
        )


def _read(place: Path, images: list[Listed], side: int, progress: Progress) -> tuple[list[Listed], list[Any]]:
    """The images with their sha256, and those that cannot be read: name, why."""
    from reweigh.data.readers.folder import pixels  # imports torch, which tables do without

    readable, unreadable = [], []
    for image in progress(images, len(images)):
        try:
            content = _content(place / image.path)
            pixels(place / image.path, content, side)
        except OSError as error:
            unreadable.append((image.path, str(error.strerror)))
        except DataError as error:
            unreadable.append((image.path, _reason(error)))
        else:
            readable.append(image._replace(sha256=hashlib.sha256(content).hexdigest()))
    return readable, unreadable


def _content(path: Path) -> bytes:
    """What is in the file of an image. Raises DataError for a pipe or a device, and for a file that is too large."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: not an image that can be read (no file but a pipe or a device)")
    if found.st_size > LONGEST << 20:
        size = f"{found.st_size / 2**20:,.0f} MiB, and at most {LONGEST} MiB are read: make it smaller"
        raise DataError(f"{path}: not an image that can be read ({size})")
    return path.read_bytes()


def _reason(error: DataError) -> str:
    """Why an image cannot be decoded, in the decoder's words: the same at each import, without addresses in memory."""
    words = OBJECT.sub("", str(error).partition("can be read (")[2].rpartition(")")[0])
    return " ".join(words.split()) or "no image"


def _unreadable(place: Path, unreadable: list[Any], total: int) -> str:
    some = ", ".join(f"{printable(name)} ({why[:60]})" for name, why in unreadable[:3])
    more = ", ..." if len(unreadable) > 3 else ""
    return (
        f"{printable(place)}: {len(unreadable):,} of {total:,} images cannot be read: {some}{more}; get them again, or "
        "leave them out: --skip-unreadable"
    )


def _check_parts(place: Path, tested_on: str, classes: list[str], labels: np.ndarray, tested: np.ndarray) -> None:
    """Raise DataError for a class of which a part has no image that can be read."""
    for part, rows in ((TRAIN, ~tested), (tested_on, tested)):
        for label, count in enumerate(np.bincount(labels[rows], minlength=len(classes)).tolist()):
            if not count:
                raise DataError(
                    f"{printable(place / part / classes[label])} has no image that can be read; get them again"
                )


def _list(images: list[Listed], tested: np.ndarray) -> bytes:
    """The list of images as CSV: path, sha256, label, part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LIST)
    for image, is_tested in zip(images, tested.tolist(), strict=True):
        writer.writerow([image.path, image.sha256, image.label, "test" if is_tested else "train"])
    return text.getvalue().encode()


def _notes(tree: Tree, images: list[Listed], tested: np.ndarray) -> list[str]:
    """What a user should know: files that are no images, and pictures that are in both parts."""
    notes = []
    if tree.others:
        notes.append(f"passed over, as no images by their names: {counted(tree.others, 'file')}")
    trained_on = {image.sha256 for image, is_tested in zip(images, tested, strict=True) if not is_tested}
    tested_on = [image for image, is_tested in zip(images, tested, strict=True) if is_tested]
    both = sum(image.sha256 in trained_on for image in tested_on)
    if both:
        notes.append(f"in the training part and in the test part, byte for byte: {counted(both, 'image')}")
    labels: dict[str, set[str]] = {}
    for image in images:
        labels.setdefault(image.sha256, set()).add(image.label)
    if several := sum(len(names) > 1 for names in labels.values()):
        notes.append(f"in more than one class, byte for byte: {counted(several, 'image')}")
    return notes
