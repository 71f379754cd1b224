"""`reweigh pack DIR`: complete a folder of specs with all that a machine needs to train them and has not.

DIR/packed/packed.json, *.npz, *.xz   the images that the runs use, for data sets that do not come with the project
DIR/packed/data/splits/...            the splits of those runs
DIR/packed/cases.json                 what `reweigh gpu-check` checks with
DIR/expected.json                     the digests of all splits, which are drawn here if need be
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.loading import load
from reweigh.data import packing
from reweigh.data.obtain import describe, recipe_digest
from reweigh.errors import ConfigError
from reweigh.planning import gpu_cases, spec_files
from reweigh.planning.fill import wanted
from reweigh.training import spec_check
from reweigh.training.__main__ import ORDER, spec_paths
from reweigh.training.gpu_check.folder import EXPECTED, specs_of
from reweigh.training.gpu_check.folder import expected as expected_of

FOLDER = "packed"
CASES = "cases.json"


def pack(folder: Path, limit: int | None = None) -> dict[str, Any]:
    """Complete a folder of specs; `{"files": [...], "images", "bytes", "splits", "left": [names of runs]}`.

    With a `limit` in bytes, the first runs in the folder's order travel whose images fit into it. The specs of the
    others are removed from the order. Raises ConfigError without specs, DataError without the data.
    """
    paths = spec_paths([str(folder)])
    if not paths:
        raise ConfigError(f"{folder}: no specs; write them with: reweigh plan TARGET --specs {folder}")
    load().project.apply()
    specs = {path.name: spec_check.read(path) for path in paths}
    body, left = packing.write(specs.values(), folder / FOLDER, limit)
    staying = {name for name, spec in specs.items() if any(spec is one for one in left)}
    order = [name for name in specs if name not in staying]
    canonical_json.write(folder / ORDER, "".join(f"{name}\n" for name in order))
    _expect(folder, {name: specs[name] for name in order})
    write_cases(folder / FOLDER / CASES, folder)
    files = [
        file
        for entry in body["datasets"]
        for file in (entry["arrays"], *(chunk for part in entry["parts"].values() for chunk in part["chunks"]))
    ]
    return {
        "files": [file["file"] for file in files],
        "images": sum(file.get("images", 0) for file in files),
        "image_bytes": sum(file["bytes"] for file in files if "images" in file),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "splits": len(body["splits"]) // 2,
        "left": sorted(staying),
    }


def _expect(folder: Path, specs: dict[str, dict[str, Any]]) -> None:
    """State the digests of the splits of these specs, for the machine to compare its own with."""
    try:
        expected = expected_of(folder)
    except ConfigError:  # it is written anew
        expected = {}
    for name, spec in specs.items():
        digests = {"split_digest": describe(spec)["digest"], "recipe_digest": recipe_digest(spec)}
        expected[name] = {**expected.get(name, {}), **digests}
    canonical_json.write(folder / EXPECTED, json.dumps({name: expected[name] for name in specs}, indent=1) + "\n")


def write_cases(path: Path, folder: Path | None = None) -> Path:
    """Write the case file for a machine that trains the specs of a folder; its path."""
    trained = specs_of(folder)[0].values()
    return canonical_json.write(path, json.dumps(gpu_cases.cases(trained=trained), indent=1) + "\n")


def own_specs(folder: Path, scale: str) -> Path:
    """Write the specs of this machine's own missing runs, in the order of config/priorities.yaml; the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    config = load()
    config.project.apply()
    spec_files.write(wanted(config, scale), folder)
    return folder


def main(folder: Path, limit: str | None = None) -> None:
    """The command `reweigh pack`."""
    done = pack(folder, None if limit is None else size(limit))
    each = f", {done['image_bytes'] / done['images']:.0f} bytes each" if done["images"] else ""
    print(f"{folder}: {done['images']} images{each}, {done['splits']} splits; {done['bytes'] / 2**20:.1f} MiB in all")
    if done["left"]:
        print(f"{len(done['left'])} runs do not fit and stay at home, {done['left'][0]} first")


def size(text: str) -> int:
    """A size such as `40M` in bytes.

    >>> size("40M") == 40 * 2**20
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip())
    if not match:
        raise ConfigError(f"--limit {text}: write a size such as 40M")
    return int(float(match[1]) * 1024 ** " KMG".index(match[2] or " "))
