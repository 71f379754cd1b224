"""Write what `reweigh.data.packed` reads: the images that some runs use, and their splits."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import canonical_json
from reweigh.data import image_codec, load, local_cards, manifest
from reweigh.data.arrays import RawData, Split, npz_bytes
from reweigh.data.obtain import obtain, split_path
from reweigh.data.packed import INDEX, PARTS, VERSION
from reweigh.digest import canonical
from reweigh.errors import DataError

CHUNK_IMAGES = 12_000  # of 32 x 32 colours: about 20 MB
MOST_BYTES = 32 * 2**20  # of a file
BYTES_OF_AN_IMAGE = 1_750  # to plan with: CIFAR takes about 1,630
Spec = Mapping[str, Any]


@dataclass
class Wanted:
    """What travels of one data set: which rows of each official part, and the runs' splits."""

    dataset: str
    options: dict[str, Any]
    rows: dict[str, set[int]] = field(default_factory=lambda: {part: set() for part in PARTS})
    splits: set[Path] = field(default_factory=set)

    def add(self, split: Split, path: Path) -> None:
        """Add the rows of a split."""
        for name, rows in rows_of(split).items():
            self.rows[name] |= rows
        self.splits.add(path)

    def growth(self, split: Split) -> int:
        """How many images a split would add."""
        return sum(len(rows - self.rows[name]) for name, rows in rows_of(split).items())


def rows_of(split: Split) -> dict[str, set[int]]:
    """The rows of each official part that a split uses."""
    train = [part.index for part in (split.train, split.target, split.validation)]
    return {"train": set(np.concatenate(train).tolist()), "test": set(split.test.index.tolist())}


def travels(dataset: str, path: str | Path = manifest.PATH) -> bool:
    """Whether a data set has to be packed to travel: it does not come with the project, or takes Pillow to read."""
    if local_cards.is_local(dataset):
        raise DataError("runs on data of your own cannot be packed; take data/local and the data to where they run")
    entry = manifest.Manifest.load(path)[dataset]
    own = any(edition.files and all(_readable(file.embedded) for file in edition.files) for edition in entry.editions)
    return not own or any(travels(needed, path) for needed in entry.needs)


def _readable(embedded: str | None) -> bool:
    return embedded is not None and not embedded.endswith(".webp")


def write(specs: Iterable[Spec], folder: Path, limit: int | None = None) -> tuple[dict[str, Any], list[Spec]]:
    """Pack what the runs of `specs` use to `folder`; the content of its index, and the specs that found no place.

    Runs are taken in their order as long as their images fit into about `limit` bytes. Draws their splits if need be.
    Raises DataError if a data set is not available here, or is no images in memory.
    """
    wanted, left = chosen(specs, limit)
    folder.mkdir(parents=True, exist_ok=True)
    datasets = [_dataset(one, folder) for one in wanted]
    splits: dict[str, str] = {}
    for path in sorted(path for one in wanted for path in one.splits):
        for file in (path, path.with_suffix(".json")):
            splits[file.as_posix()] = _file(folder, file.as_posix(), file.read_bytes())["sha256"]
    body = canonical_json.seal({"version": VERSION, "datasets": datasets, "splits": splits})
    canonical_json.write(folder / INDEX, canonical_json.text_of(body))
    return body, left


def chosen(specs: Iterable[Spec], limit: int | None = None) -> tuple[list[Wanted], list[Spec]]:
    """What has to travel for the runs of `specs`, and the specs for which there was no place left."""
    wanted: dict[bytes, Wanted] = {}
    left, images, full = [], 0, set()
    for spec in specs:
        data, path = spec["data"], split_path(dict(spec))
        if not travels(data["dataset"]) or path in full:
            left += [spec] if path in full else []
            continue
        key = canonical([data["dataset"], data["options"]])
        one = wanted.setdefault(key, Wanted(data["dataset"], data["options"]))
        if path in one.splits:
            continue
        split = obtain(dict(spec))
        growth = one.growth(split)
        if limit is not None and (images + growth) * BYTES_OF_AN_IMAGE > limit:
            left.append(spec)
            full.add(path)
            continue
        images += growth
        one.add(split, path)
    return [one for one in wanted.values() if one.splits], left


def _dataset(wanted: Wanted, folder: Path) -> dict[str, Any]:
    """Write the images and arrays of one data set; its entry in the index."""
    manifest.ensure(wanted.dataset)
    raw = load.read(wanted.dataset, wanted.options)
    stem = f"{wanted.dataset}-{hashlib.sha256(canonical(wanted.options)).hexdigest()[:6]}"
    rows = {part: np.array(sorted(wanted.rows[part]), np.int64) for part in PARTS}
    arrays = {f"{part}_rows": rows[part] for part in PARTS} | _arrays(raw)
    return {
        "dataset": wanted.dataset,
        "options": wanted.options,
        "content_digest": manifest.content_digest(wanted.dataset),
        "edition": raw.edition,
        "class_names": list(raw.class_names),
        "group_names": list(raw.group_names),
        "arrays": _file(folder, f"{stem}.npz", npz_bytes(arrays)),
        "parts": {part: _part(getattr(raw, f"{part}_inputs"), rows[part], folder, f"{stem}-{part}") for part in PARTS},
    }


def _arrays(raw: RawData) -> dict[str, np.ndarray]:
    """Labels and groups of the whole data set: a few bytes an example, and readers of it may look at all of them."""
    values = {field.name: getattr(raw, field.name) for field in dataclasses.fields(raw)}
    inputs = {f"{part}_inputs" for part in PARTS}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray) and name not in inputs}


def _part(inputs: Any, rows: np.ndarray, folder: Path, stem: str) -> dict[str, Any]:
    """Write the images of one official part in chunks."""
    if not isinstance(inputs, np.ndarray) or inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise DataError(f"{stem}: only images in memory are packed; let this data set travel as it is")
    chunks = []
    for number, start in enumerate(range(0, len(rows), CHUNK_IMAGES)):
        images = inputs[rows[start : start + CHUNK_IMAGES]]
        content = image_codec.encode(images)
        if len(content) > MOST_BYTES:
            raise DataError(f"{stem}: a chunk of {len(content)} bytes; images this large are not packed")
        if not np.array_equal(image_codec.decode(content, images.shape), images):
            raise DataError(f"{stem}: what was packed is not what was read: a fault of reweigh.data.image_codec")
        chunks.append({**_file(folder, f"{stem}-{number}.xz", content), "images": len(images)})
    return {"length": len(inputs), "shape": list(inputs.shape[1:]), "chunks": chunks}


def _file(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    """Write a file of the folder; its name, size and digest, for the index."""
    canonical_json.write(folder / name, content)
    return {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
