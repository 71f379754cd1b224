"""Waterbirds (Sagawa et al., ICLR 2020) as features: is the bird a waterbird, whatever it stands before?

Inputs are what a frozen network makes of each picture, one row for each row of the official `metadata.csv`. Two
editions. `official`: ResNet-18 with torchvision's ImageNet weights, 512 numbers a picture, as AutoBalance has it;
`reweigh features waterbirds` makes them from the official archive. `efficientnet-lite0`: a stand-in, 1,280 numbers a
picture, whose errors are not held against the paper's.

Labels: 0 landbird, 1 waterbird. Groups are the four cells of bird and background, cell = 2 · bird + place.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers import damage, lists
from reweigh.errors import DataError

CLASSES, PLACES = ("landbird", "waterbird"), ("land", "water")
CELLS = tuple(f"{bird} on {place}" for bird in CLASSES for place in PLACES)
PARTS = ("train", "validation", "test")  # the values 0, 1, 2 of the official column `split`
# Pictures of each cell in each official part.
SIZES = {"train": (3498, 184, 56, 1057), "validation": (467, 466, 133, 133), "test": (2255, 2255, 642, 642)}
METADATA = "metadata.csv"


@dataclass(frozen=True)
class Form:
    """How an edition keeps its features: an `.npy` file, a `.json` file that says what they are, numbers a picture."""

    features: str
    about: str
    width: int
    kind: str


FORMS = {
    "official": Form("resnet18.npy", "resnet18.json", 512, "<f4"),
    "efficientnet-lite0": Form("features.npy", "features.json", 1280, "<f2"),
}


@dataclass(frozen=True)
class Metadata:
    """The rows of the official `metadata.csv`: file names, and int64 (N,) birds, places and parts (see `PARTS`)."""

    files: list[str]
    birds: np.ndarray
    places: np.ndarray
    parts: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """The cell of each row."""
        return 2 * self.birds + self.places


def read(raw: Path, official_validation: bool = False) -> RawData:
    """Waterbirds from `raw`, with the features of the official edition if they are there; inputs float32 (N, 512).

    Those of the stand-in are (N, 1280). Row i is the i-th of its part in `metadata.csv`. `official_validation` measures
    on the official validation part, 1,199 pictures, instead of the test part: by it a baseline's options are chosen,
    and nothing else uses it. Raises DataError for a missing or damaged file, or features of other pictures.
    """
    raw = Path(raw)
    edition = next((name for name, form in FORMS.items() if (raw / form.features).is_file()), "efficientnet-lite0")
    form, path = FORMS[edition], raw_file(raw, METADATA)
    rows = metadata(path)
    features = damage.array(raw_file(raw, form.features), (form.width,), (form.kind,))
    contents = {"features": features.tobytes(), METADATA: path.read_bytes()}
    check_digests(raw_file(raw, form.about), contents)
    return raw_data(raw / form.features, features, rows, edition, official_validation)


def metadata(path: Path) -> Metadata:
    """The official table. Raises DataError if it is anything else, down to the sizes of the cells of each part."""
    table = damage.table(path, ("img_filename", "y", "place", "split"))
    birds, places, parts = (
        damage.whole_numbers([row[name] for row in table], path, below=below)
        for name, below in (("y", len(CLASSES)), ("place", len(PLACES)), ("split", len(PARTS)))
    )
    rows = Metadata([row["img_filename"] for row in table], birds, places, parts)
    if len(set(rows.files)) != len(rows.files):
        raise DataError(f"{path}: names a picture twice; {damage.AGAIN}")
    check_sizes(path, rows)
    return rows


def check_sizes(path: Path, rows: Metadata) -> None:
    """Raise DataError if the parts have not the cells that Waterbirds has."""
    for value, part in enumerate(PARTS):
        found = tuple(np.bincount(rows.cells[rows.parts == value], minlength=len(CELLS)).tolist())
        if found != SIZES[part]:
            raise DataError(f"{path}: the {part} part has cells of {found} pictures, Waterbirds {SIZES[part]}")


def check_digests(path: Path, contents: dict[str, bytes]) -> None:
    """Raise DataError for content that is not what the `.json` file at `path` says of it, in its key `sha256`.

    So features that belong to another table, or were made by an interrupted run, are found where nobody published a
    digest of them.
    """
    stated = lists.json_object(path).get("sha256")
    for name, content in contents.items():
        if not isinstance(stated, dict) or stated.get(name) != hashlib.sha256(content).hexdigest():
            raise DataError(f"{path}: does not have the sha256 of the {name} beside it; {damage.AGAIN}")


def raw_data(path: Path, features: np.ndarray, rows: Metadata, edition: str, official_validation: bool) -> RawData:
    """The data set of features (N, F) of any float type, row for row those of `rows`; `path` is where they are from.

    Raises DataError if they are not as many, or not finite.
    """
    if len(features) != len(rows.birds):
        raise DataError(f"{path}: {len(features)} rows of features for {len(rows.birds)} pictures; {damage.AGAIN}")
    if not np.isfinite(features).all():
        raise DataError(f"{path}: has features that are not finite; {damage.AGAIN}")
    measured = PARTS.index("validation" if official_validation else "test")
    train, test = (np.flatnonzero(rows.parts == part) for part in (PARTS.index("train"), measured))
    inputs = features.astype(np.float32)
    return RawData(
        train_inputs=inputs[train],
        train_labels=rows.birds[train],
        train_groups=rows.cells[train],
        test_inputs=inputs[test],
        test_labels=rows.birds[test],
        test_groups=rows.cells[test],
        class_names=CLASSES,
        group_names=CELLS,
        edition=edition,
    )
