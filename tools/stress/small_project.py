"""A project whose grid is cut down to a few runs of seconds, for what disturbs them."""

import shutil
from pathlib import Path

import yaml
from support import project

from reweigh import canonical_json
from reweigh.config import files
from reweigh.config.loading import written_out

# The grid at scale smoke: changes to the scale's block.
IMAGES = {"split": {"total": 300, "target_size": 20, "test_size": 100}, "settings": ["rho0.1"]}


def make(folder: Path, raw_root: Path, grid: dict) -> None:
    """A folder with config, manifest and raw data; of TDR's experiments scale smoke has those of `grid` alone."""
    folder.mkdir(parents=True)
    project.make(folder, raw_root)
    paper = files.with_sources(written_out(folder.resolve(), "tdr"))
    for name, experiment in paper["experiments"].items():
        experiment["scales"] = {"smoke": {**grid[name], "cut": "as the test needs"}} if name in grid else {}
    shutil.rmtree(folder / files.PAPERS / "tdr")
    text = yaml.safe_dump(paper, allow_unicode=True, sort_keys=False)
    canonical_json.write(folder / files.PAPERS / "tdr/paper.yaml", text)
