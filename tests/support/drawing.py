"""Artifacts drawn as their notebooks draw them, without a kernel and without saving them."""

import json
import os
from pathlib import Path
from typing import Any

from reweigh.config.loading import load
from reweigh.plots.figure import Figure


def draw_artifact(root: Path, scale: str, paper: str, artifact: str) -> Figure:
    """Run the code of an artifact's notebook on the records of the project at `root`; return its figure."""
    cells = json.loads((root / load(root).artifact(paper, artifact).notebook).read_text())["cells"]
    names: dict[str, Any] = {"scale": scale, "paper": paper, "artifact": artifact, "out": None}
    before = os.getcwd()
    os.chdir(root)
    try:
        for cell in cells:
            if cell["cell_type"] == "code" and cell["id"] != "parameters":
                exec("".join(cell["source"]), names)
    finally:
        os.chdir(before)
    figure = names["figure"]
    assert isinstance(figure, Figure)
    return figure
