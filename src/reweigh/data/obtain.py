"""Splits on disk: read the split of a run, or draw it from raw data and write it.

A split is two files: `data/splits/{scale}/{paper}/{experiment}/{setting}/seedN.npz` with the arrays and, written last,
`seedN.json` with sizes, digests, recipe, and the raw files that it was drawn from.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from reweigh import array_files, canonical_json
from reweigh.data import load, local_cards, manifest
from reweigh.data.arrays import RawData, Split
from reweigh.data.noise import realised
from reweigh.data.split import draw
from reweigh.digest import canonical, closure, digest
from reweigh.errors import DataError
from reweigh.path_parts import below

SPLIT_VERSION = 1
OF_ITSELF = "report_digest"  # the key of a report under which its own digest stands, that of all other keys


def split_path(spec: dict[str, Any], root: str | Path = "data") -> Path:
    """Where the arrays of a run's split lie; all methods of a setting share them.

    Raises ConfigError for names that would lead out of the folder of splits.
    """
    place = (spec["scale"], spec["paper"], spec["experiment"], spec["setting"])
    return Path(root, "splits", below(*place, f"seed{spec['seed']}.npz"))


def recipe(spec: dict[str, Any]) -> dict[str, Any]:
    """What decides a split: data set, options of its reader, the split block of the spec, and the seed."""
    data = spec["data"]
    return {"dataset": data["dataset"], "options": data["options"], "split": data["split"], "seed": spec["seed"]}


def recipe_digest(spec: dict[str, Any], root: str | Path = "data") -> str:
    """Digest of what a split depends on: its recipe, the raw content by the manifest, the code that reads and draws."""
    dataset, options = spec["data"]["dataset"], spec["data"]["options"]
    local = local_cards.is_local(dataset)
    content = local_cards.of(options, root)["digest"] if local else _content(dataset, str(Path(root, "manifest.yaml")))
    code = _code(dataset)
    return digest({"version": SPLIT_VERSION, "recipe": recipe(spec), "content": content, "code": code})


def obtain(spec: dict[str, Any], root: str | Path = "data") -> Split:
    """The split of a run: read from its files if they are current, else drawn from raw data and written.

    Raises DataError if a current split was altered, or if the raw data are not available.
    """
    described = describe(spec, root)
    split = _read(split_path(spec, root), described)
    if split is None or any(described.get(key) != value for key, value in _stated(split).items()):
        raise DataError(f"{split_path(spec, root)}: not what its .json says; delete both and they are drawn again")
    return split


def describe(spec: dict[str, Any], root: str | Path = "data") -> dict[str, Any]:
    """The report of a run's split, its `.json`: `{digest, recipe_digest, recipe, sizes, group_sizes, raw, ...}`.

    Where labels were given noise, also `noise`: its kind and rate, and the realised noise of each noisy part. Where a
    class or a group has no training example, `missing` names it.
    Draws and writes the split first if it is not there or no longer current, or if the raw files are of another edition
    now: a record states by this report what its run was trained on.
    """
    path = split_path(spec, root)
    described = _report(path.with_suffix(".json"))
    current = described.get("recipe_digest") == recipe_digest(spec, root) and _is_as_written(described)
    if path.is_file() and current and _of_todays_files(described, root):
        return described
    return _draw_and_write(spec, root)


def _is_as_written(described: dict[str, Any]) -> bool:
    """Whether a report is what was written, by its digest of itself; those of older versions have none."""
    rest = {key: value for key, value in described.items() if key != OF_ITSELF}
    try:
        return OF_ITSELF not in described or described[OF_ITSELF] == digest(rest)
    except (ValueError, RecursionError):  # it holds what has no digest
        return False


def _of_todays_files(described: dict[str, Any], root: str | Path) -> bool:
    """Whether a split was drawn from the raw files that are there now; true for data sets that have none there."""
    for dataset in {file["dataset"] for file in described["raw"]}:
        source = manifest.source_of(Path(root, "raw", dataset))
        known = {(source["edition"], file["name"], file["sha256"]) for file in source.get("files", ())}
        drawn_from = {
            (one["edition"], one["name"], one["sha256"]) for one in described["raw"] if one["dataset"] == dataset
        }
        if known and known != drawn_from:
            return False
    return True


def summary(described: dict[str, Any]) -> str:
    """What a report of a split comes to in one line: sizes, and what has no training example.

    >>> summary({"sizes": {"train": [9, 0]}, "missing": ["ship"]})
    "{'train': [9, 0]}; without training examples: ship"
    """
    missing = described.get("missing", [])
    return f"{described['sizes']}" + (f"; without training examples: {', '.join(missing)}" if missing else "")


def _draw_and_write(spec: dict[str, Any], root: str | Path) -> dict[str, Any]:
    dataset, options = spec["data"]["dataset"], spec["data"]["options"]
    sources = _sources(dataset, options, root)
    raw = load.read(dataset, options, Path(root, "raw"))
    split = draw(raw, spec["data"]["split"], spec["seed"])
    stated = _stated(split)
    described = {
        "split_version": SPLIT_VERSION,
        "digest": stated["digest"],
        "recipe_digest": recipe_digest(spec, root),
        "recipe": recipe(spec),
        **stated,
        "raw": [
            {"dataset": source["dataset"], "edition": source["edition"], **file}
            for source in sources
            for file in source["files"]
        ],
    }
    if split.missing:
        described["missing"] = split.missing
    if noise := spec["data"]["split"].get("noise"):
        described["noise"] = {**noise, **_realised(raw, split)}
    described = {OF_ITSELF: digest(described), **described}
    path = split_path(spec, root)
    canonical_json.write(path, split.to_bytes())
    canonical_json.write(path.with_suffix(".json"), _one_key_per_line(described))
    return described


def _sources(dataset: str, options: dict[str, Any], root: str | Path) -> list[dict[str, Any]]:
    """The source files of a data set and of those that it needs, once their raw files are there."""
    if local_cards.is_local(dataset):
        return [local_cards.source_file(dataset, options, root)]
    path = Path(root, "manifest.yaml")
    names = (dataset, *manifest.Manifest.load(path)[dataset].needs)
    return [manifest.ensure(name, Path(root, "raw"), manifest=path) for name in names]


def _realised(raw: RawData, split: Split) -> dict[str, Any]:
    """The realised noise of each part that is drawn from training data, against the labels that the reader gives."""
    label_of = {name: label for label, name in enumerate(split.class_names)}
    clean = np.array([label_of.get(name, -1) for name in raw.class_names])[raw.train_labels]
    parts, classes = {"train": split.train, "validation": split.validation}, len(split.class_names)
    return {name: realised(clean[part.index], part.label, classes) for name, part in parts.items() if len(part)}


def _read(path: Path, described: dict[str, Any]) -> Split | None:
    """The split in a file; `None` if the file is not a split, or unpacks to more than its report says."""
    try:
        with array_files.damage_told():  # also that of the report
            array_files.check(path, _room(described))
            return Split.from_bytes(path.read_bytes())
    except (OSError, ValueError):
        return None


def _room(described: dict[str, Any]) -> int:
    """The bytes that the arrays of a split take, by its report: its rows, and its names as numpy has them."""
    names = [described["class_names"], described["group_names"]]
    rows = sum(sum(part) for part in described["sizes"].values())
    return 8 * rows + sum(4 * len(some) * max(map(len, some), default=0) for some in names)


def _stated(split: Split) -> dict[str, Any]:
    """What a report says of its split alone; a report that says anything else is another split's, or was altered."""
    names = {"class_names": list(split.class_names), "group_names": list(split.group_names)}
    return {"digest": split.digest(), **names, "sizes": split.sizes(), "group_sizes": split.group_sizes()}


def _report(path: Path) -> dict[str, Any]:
    """The report of a split; empty if there is none, or none that can be read."""
    try:
        body = canonical_json.read(path)
        texts = [
            text for file in body["raw"] for text in (file["dataset"], file["edition"], file["name"], file["sha256"])
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return body if all(isinstance(text, str) for text in texts) else {}


def _one_key_per_line(body: dict[str, Any]) -> str:
    return (
        "{\n" + ",\n".join(f" {json.dumps(key)}: {canonical(value).decode()}" for key, value in body.items()) + "\n}\n"
    )


@functools.cache
def _content(dataset: str, path: str) -> str:
    return manifest.content_digest(dataset, path)


@functools.cache
def _code(dataset: str) -> dict[str, str]:
    return closure(("reweigh.data.split", f"reweigh.data.readers.{dataset.replace('-', '_')}"))
