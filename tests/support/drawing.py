"""Artifacts drawn as their notebooks draw them, without a kernel and without saving them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from reweigh.analysis.rows import CORE, write_csv
from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.config.loading import load
from reweigh.plots.figure import Figure
from support.molere_records import texts
from support.pages import layout_faults


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


def check_csv(figure: Figure, path: Path) -> None:
    """That the csv beside `path` has every row of the figure, and of each mean the runs and their records."""
    figure.save(path)
    data = pd.read_csv(path.with_suffix(".csv"), keep_default_na=False, dtype=str)
    assert set(data) >= set(CORE) and len(data) == len(figure.rows)
    numbers = data[data["mean"] != ""]
    assert (numbers["runs"] != "").all() and (numbers["records"].str.len() == 12).all()


def check_without_records(figure: Figure, table: bool) -> None:
    """That a figure that no record feeds says so, and is laid out all the same."""
    assert "not run" in texts(figure).replace("\u00a0", " ").replace("\n", " ").lower()
    assert figure.rows["mean"].isna().all()
    assert set(figure.rows["status"]) <= {"not run", "computed"}
    assert layout_faults(figure.picture, table=table) == []


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
