"""Artifacts drawn as their notebooks draw them, without a kernel and without saving them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh.analysis.rows import write_csv
from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.config.loading import load
from reweigh.plots.figure import Figure


def draw_all(root: Path, paper: str, names: Iterable[str]) -> dict[str, Figure]:
    """Artifacts of a paper at scale paper, drawn; csv and receipt lie where they belong, other files are empty."""
    figures = {name: draw_artifact(root, "paper", paper, name) for name in names}
    folder = root / "figures/paper" / paper
    folder.mkdir(parents=True)
    for name, figure in figures.items():
        write_csv(figure.rows, folder / f"{name}.csv")
        for ending in ("pdf", "png", "ipynb"):
            (folder / f"{name}.{ending}").touch()
        made = {ending: folder / f"{name}.{ending}" for ending in MADE}
        receipt.write(folder / f"{name}.json", receipt.figure_basis(load(root), "paper", paper, name), made, root)
    return figures


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
