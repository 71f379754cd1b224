"""Data sets that travel: the images that some runs use, packed, for a machine that has no copy of the whole data set.

`reweigh pack` makes the folder, `REWEIGH_PACKED` names it. A data set that is in it is read from it, before any other
source. Rows keep their places in the official part, so splits hold; a row that did not travel is refused. The splits of
the runs travel too: they state the digests of the raw files that they were drawn from, and so do the records.
"""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import array_files, canonical_json
from reweigh.data import image_codec, manifest
from reweigh.data.arrays import RawData
from reweigh.digest import canonical, file_digest
from reweigh.errors import DataError
from reweigh.path_parts import is_inside
from reweigh.terminal import printable

ENVIRONMENT = "REWEIGH_PACKED"
INDEX = "packed.json"  # what is in the folder; written last
VERSION = 1
PARTS = ("train", "test")  # the official ones
ARRAYS = 4  # of each part, at most: rows, labels, groups, clean labels

AGAIN = "send it again, or make it again with: reweigh pack DIR"

# What the index holds: the digests of all other files, and its own; see `canonical_json.misshapen`.
FILE: dict[str, Any] = {"file": str, "sha256": str}
PART: dict[str, Any] = {"shape": [int], "length": int, "chunks": [FILE | {"images": int}]}
DATASET: dict[str, Any] = {
    "dataset": str,
    "options": {},
    "content_digest": str,
    "edition": str,
    "class_names": [str],
    "group_names": [str],
    "arrays": FILE,
    "parts": dict.fromkeys(PARTS, PART),
}
SHAPE: dict[Any, Any] = {"version": int, "datasets": [DATASET], "splits": {...: str}, "digest": str}


class Rows:
    """Inputs uint8 `(N, C, H, W)` of which only some rows are there: as much of an array as a part of a split needs."""

    def __init__(self, images: np.ndarray, rows: np.ndarray, length: int, name: str) -> None:
        self.images, self.name, self.dtype = images, name, images.dtype
        self.shape = (length, *images.shape[1:])
        self.places = np.full(length, -1, np.int64)
        self.places[rows] = np.arange(len(rows))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The inputs of `rows` (B,). Raises DataError if one of them did not travel."""
        places = self.places[rows]
        if (places < 0).any():
            absent = np.asarray(rows)[places < 0]
            raise DataError(
                f"{self.name}: {len(absent)} of {len(places)} rows did not travel, row {absent[0]} first; "
                "pack the specs of these runs: reweigh pack DIR"
            )
        return self.images[places]


def folder() -> Path | None:
    """The folder of what travels, by $REWEIGH_PACKED; None if it is not set."""
    named = os.environ.get(ENVIRONMENT, "")
    return Path(named) if named else None


def index(place: Path) -> dict[str, Any]:
    """The content of `packed.json`, not to be changed. Raises DataError if that is not what was written, to the last
    byte, or has not SHAPE."""
    path = place / INDEX
    try:
        body, wrong = _understood(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); {AGAIN}") from None
    if wrong:
        raise DataError(f"{path}: {wrong}; {AGAIN}")
    return body


@functools.lru_cache(maxsize=1)
def _understood(content: bytes) -> tuple[dict[str, Any], str]:
    """The index with this content, and what is wrong with it; empty for one that is as it was written."""
    try:
        body = canonical_json.parse(content)
    except ValueError as error:
        return {}, f"damaged ({error})"
    if body.get("version") != VERSION:
        return {}, f"not of version {VERSION}"
    if "digest" not in body:
        return {}, "it has no digest of its own, so it is of an older version or damaged"
    if altered := canonical_json.altered(body, content):
        return {}, altered
    where = canonical_json.misshapen(body, SHAPE)
    return body, "" if where is None else f"damaged at {where}"


def read(dataset: str, options: dict[str, Any]) -> RawData | None:
    """A data set as its reader gives it with these options, from what travelled; None if it did not travel.

    Raises DataError for a damaged file, or if the manifest names other raw content than what was packed.
    """
    place = folder()
    entry = None if place is None else _entry(place, dataset, options)
    if place is None or entry is None:
        return None
    if entry["content_digest"] != manifest.content_digest(dataset):
        raise DataError(f"{place / INDEX}: {dataset} is not what data/manifest.yaml names; pack it again")
    arrays = _arrays(_checked(place, entry["arrays"]), sum(part["length"] for part in entry["parts"].values()))
    inputs = {part: _rows(place, dataset, part, entry["parts"][part], arrays) for part in PARTS}
    return RawData(
        train_inputs=inputs["train"],  # type: ignore[arg-type]  # as much of an array as is needed
        test_inputs=inputs["test"],  # type: ignore[arg-type]
        class_names=tuple(entry["class_names"]),
        group_names=tuple(entry["group_names"]),
        edition=entry["edition"],
        **arrays,
    )


def place_split(path: Path) -> None:
    """Put the split at `path` (below data/splits) where training looks for it, if it travelled and is not there."""
    place = folder()
    if place is None or path.with_suffix(".json").is_file():
        return
    splits = index(place)["splits"]
    for file in (path, path.with_suffix(".json")):  # the report last, as when a split is drawn
        if (digest := splits.get(file.as_posix())) is not None:
            travelled = _checked(place, {"file": file.as_posix(), "sha256": digest})
            canonical_json.write(file, travelled.read_bytes())


def sources(raw: list[dict[str, Any]], dataset: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The raw files of a split, for a record; `source` is "packed" where the run's rows of them travelled."""
    place = folder()
    if place is None or _entry(place, dataset, options) is None:
        return raw
    return [{**file, "source": "packed"} for file in raw]


def _entry(place: Path, dataset: str, options: dict[str, Any]) -> dict[str, Any] | None:
    wanted = dataset, canonical(options)
    entries = index(place)["datasets"]
    return next((entry for entry in entries if (entry["dataset"], canonical(entry["options"])) == wanted), None)


def _checked(place: Path, file: dict[str, Any]) -> Path:
    """The path of a file of the folder. Raises DataError if it is missing or altered."""
    path = place / file["file"]
    if not is_inside(file["file"]):
        raise DataError(f"{place / INDEX}: names {printable(file['file'])}, which is not in its folder; {AGAIN}")
    if not path.is_file():
        raise DataError(f"{path} is missing: it did not travel with {INDEX}")
    if (length := path.stat().st_size) != file.get("bytes", length):
        raise DataError(f"{path}: {length} bytes, expected {file['bytes']}; send it again")
    if (actual := file_digest(path)) != file["sha256"]:
        raise DataError(f"{path}: sha256 {actual[:12]}, expected {file['sha256'][:12]}; send it again")
    return path


def _arrays(path: Path, rows: int) -> dict[str, np.ndarray]:
    """The arrays of a data set of so many rows: a few numbers for each. Raises DataError if the file has more."""
    try:
        return array_files.read(path, ARRAYS * array_files.WIDEST * rows)
    except ValueError as error:
        raise DataError(f"{path}: not the arrays of a data set ({error}); {AGAIN}") from None


def _rows(place: Path, dataset: str, part: str, packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> Rows:
    """The images of one official part; `arrays` are those of the data set, of which this takes the rows out."""
    rows, length, shape = arrays.pop(f"{part}_rows"), len(arrays[f"{part}_labels"]), packed["shape"]
    if packed["length"] != length:
        raise DataError(f"{place / INDEX}: {packed['length']} rows of {dataset}, but {length} labels; send it again")
    if len(shape) != 3:
        raise DataError(f"{place / INDEX}: images of {dataset} of the shape {shape}, not (C, H, W); send it again")
    images = [np.empty((0, *shape), np.uint8)]
    for chunk in packed["chunks"]:
        path = _checked(place, chunk)
        try:
            images.append(image_codec.decode(path.read_bytes(), (chunk["images"], *shape)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    whole = np.concatenate(images)
    if len(whole) != len(rows):
        raise DataError(f"{place / INDEX}: {len(rows)} rows of {dataset}, but {len(whole)} images")
    return Rows(whole, rows, packed["length"], f"{dataset}, {part} part")
