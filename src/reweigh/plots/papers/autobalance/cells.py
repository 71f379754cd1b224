"""AutoBalance's Figure 1: how many examples the four cells of Waterbirds have, and how search and retraining go.

The counts are options of the artifact, as the archive's list has them. Where the archive lies in data/raw, one image of
each cell is shown.
"""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Patch

from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.papers.autobalance import framework
from reweigh.plots.style import INK, finish, letter, sheet

EXAMPLES = "examples_of_cell"
CELLS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
PARTS = {"train": "#0072B2", "validation": "#E69F00", "test": "#8C510A"}
HALVES = ("search: S_T", "search: S_V")


def rows(material: Material) -> pd.DataFrame:
    """The lines of the artifact's own options (see `toy_rows`)."""
    return pd.DataFrame(toy_rows(material.artifact.options))


def toy_rows(options: Mapping[str, Any]) -> list[Row]:
    """Of each cell (`class`, `title`) and part (`note`) the examples (`y`) and their share of the part (`x`).

    Then the same of S_T and S_V, into which the search divides the training part, cell by cell.
    """
    counts = {part: np.array(options["cells"][part]) for part in PARTS}
    held_out = np.floor(options["search_share"] * counts["train"]).astype(int)
    counts |= dict(zip(HALVES, (counts["train"] - held_out, held_out), strict=True))
    lines: list[Row] = []
    for part, of in counts.items():
        for cell, count in enumerate(of.tolist()):
            names: Row = {"experiment": "", "title": CELLS[cell], "metric": EXAMPLES, "class": cell, "note": part}
            lines.append({**names, "x": count / int(of.sum()), "y": count, "status": "computed"})
    return lines


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """Bars of the cells (a), images of them where they are at hand, and the framework as a diagram (b)."""
    images = cell_images(material.config.root)
    picture = sheet()
    if images is None:
        left, right = picture.subplots(1, 2, width_ratios=(1, 1.28))
    else:
        left, right = _with_images(picture, images)
    _bars(left, rows)
    framework.diagram(right)
    letter(left, "a", "cells of Waterbirds")
    letter(right, "b", "search, then retraining")
    halves = [rows[rows["note"] == half]["y"].astype(int) for half in HALVES]
    shows = (
        f"a: examples (share of the part). The search divides the training part by cell: S_T {_listed(halves[0])}, "
        f"S_V {_listed(halves[1])}; the official validation part takes no part in it"
    )
    notes = [] if images else ["Images of the cells: the official archive is not at hand, unpacked"]
    legend = [(Patch(color=colour), part) for part, colour in PARTS.items()]
    finish(picture, material, shows, notes, legend, panels=2.5 if images is None else 3.9)
    return Figure(picture, rows)


def _listed(counts: pd.Series) -> str:
    return f"{' + '.join(f'{count:,}' for count in counts)} = {counts.sum():,}"


def _with_images(picture: Picture, images: list[np.ndarray]) -> tuple[Axes, Axes]:
    """Axes of both panels above a row of four images."""
    above, below = picture.subfigures(2, 1, height_ratios=(1.9, 1))  # type: ignore[misc]
    for axes, image, name in zip(below.subplots(1, 4), images, CELLS, strict=True):
        axes.imshow(image)
        axes.set_title(name, fontsize=7)
        axes.set_axis_off()
    left, right = above.subplots(1, 2, width_ratios=(1, 1.28))
    return left, right


def _bars(axes: Axes, rows: pd.DataFrame) -> None:
    """A group of bars for each cell, a bar a part, on a logarithmic axis."""
    height = 0.26
    for place, (part, colour) in enumerate(PARTS.items()):
        mine = rows[rows["note"] == part]
        at = mine["class"].to_numpy(float) + (place - 1) * height
        axes.barh(at, mine["y"], height * 0.9, color=colour, zorder=2)
        for y, count, share in zip(at, mine["y"], mine["x"], strict=True):
            axes.annotate(
                f"{int(count):,} ({100 * share:.1f} %)", (count, y), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=6, color=INK,
            )  # fmt: skip
    axes.set_yticks(range(len(CELLS)), [name.replace(" on ", "\non ") for name in CELLS])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(30, 40_000)
    axes.set_xticks([100, 1000, 10_000], ["100", "1,000", "10,000"])
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("examples (logarithmic)")


@functools.lru_cache(maxsize=4)
def _listing(path: Path) -> tuple[dict[str, str], ...]:
    with open(path, newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def cell_images(root: Path) -> list[np.ndarray] | None:
    """The first test image of each cell in the official archive; None where it does not lie unpacked in data/raw."""
    listing = next(iter(sorted((root / "data/raw/waterbirds-images").rglob("metadata.csv"))), None)
    if listing is None:
        return None
    from PIL import Image

    first: dict[int, Path] = {}
    for line in _listing(listing):
        if line["split"] == "2":
            first.setdefault(2 * int(line["y"]) + int(line["place"]), listing.parent / line["img_filename"])
    if sorted(first) != [0, 1, 2, 3] or not all(path.is_file() for path in first.values()):
        return None
    return [np.asarray(Image.open(first[cell]).convert("RGB").resize((224, 224))) for cell in range(4)]
