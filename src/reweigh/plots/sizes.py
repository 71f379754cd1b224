"""How many training examples each class has: the label distributions of the paper's data sets."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.rows import CLASS_SIZE, Row
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.config.sizes import CLASS_SIZES
from reweigh.data.catalogue import Manifest
from reweigh.data.imbalance import long_tail_sizes, step_sizes
from reweigh.data.readers.lists import labelled_paths
from reweigh.digest import file_digest
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import data_title, empty, finish, sheet

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)))


def rows(material: Material) -> pd.DataFrame:
    """One line a class of each data set, the largest first: its rank (`x`, from 1) and training examples (`y`).

    Sizes of splits that are drawn follow from the protocol of scale paper, those of the other data sets from their
    training lists, where those are at hand. A data set without its list has one line, `not run`.
    """
    lines: list[Row] = []
    titles: set[str] = set()
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            title = _title(material, experiment, setting)
            if title in titles:
                continue
            base: Row = {"experiment": experiment, "setting": setting, "value": material.label(experiment, setting),
                         "title": title, "metric": CLASS_SIZE}  # fmt: skip
            sizes = sizes_of(material.config, material.paper, experiment, setting)
            if sizes is None:
                lines.append({**base, "status": "not run", "note": "its training list is not at hand"})
                continue
            titles.add(title)
            ranked = enumerate(np.sort(sizes)[::-1].tolist(), 1)
            lines += [{**base, "status": "computed", "x": rank, "y": count} for rank, count in ranked]
    return pd.DataFrame(lines)


def sizes_of(config: Config, paper: str, experiment: str, setting: str) -> np.ndarray | None:
    """Training examples of each class, int64 (C,), by the protocol of scale paper; None if its list is not at hand."""
    run = f"paper/{paper}/{experiment}/{setting}/{config.experiment(paper, experiment).methods[0]}/seed0"
    data = config.resolve(run)["data"]
    return sizes_by_formula(data) if follows_formula(data) else sizes_by_list(data["dataset"], config.root)


def follows_formula(data: Mapping[str, Any]) -> bool:
    """Whether a split's class sizes follow from its spec (`spec["data"]`) alone."""
    return data["split"]["kind"] in ("long-tail", "step")


def sizes_by_formula(data: Mapping[str, Any]) -> np.ndarray:
    """Class sizes (C,) of a split whose imbalance is given by a formula."""
    split = data["split"]
    asked = split["largest_class"], split["imbalance_ratio"], len(CLASS_SIZES[data["dataset"]])
    if split["kind"] == "step":
        return np.array(step_sizes(*asked), np.int64)
    return np.array(long_tail_sizes(*asked, exact=split.get("rounding") == "exact"), np.int64)


def sizes_by_list(dataset: str, root: Path) -> np.ndarray | None:
    """Class sizes (C,) counted in a data set's training list; None if that is not at hand."""
    listed = training_list(dataset, root)
    return None if listed is None else np.bincount(labelled_paths(listed).labels)


def _title(material: Material, experiment: str, setting: str) -> str:
    """`CIFAR-100, LT, ρ = 100`; `Places-LT`."""
    one = material.experiment(experiment)
    if one.status != "ready":
        return one.title.split(",")[0]
    return f"{data_title(one.dataset)}, {material.label(experiment, setting)}"


def training_list(dataset: str, root: Path) -> Path | None:
    """The list of a data set's training images in data/raw or the mirror, if it is there and what the manifest says."""
    mirror = os.environ.get("REWEIGH_MIRROR", "")
    for edition in Manifest.load(root / "data/manifest.yaml")[dataset].editions:
        for file in edition.files:
            places = [root / "data/raw" / dataset / file.name, Path(mirror, file.mirror or file.name)]
            for path in places if mirror else places[:1]:
                if is_training_list(file.name) and path.is_file() and file_digest(path) == file.sha256:
                    return path
    return None


def is_training_list(name: str) -> bool:
    """Whether a raw file is by its name a list of training images."""
    return "train" in name and name.endswith(".txt")


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """One curve a data set: training examples on a log scale, by the class's rank."""
    counted = rows[rows["status"] == "computed"]
    picture = sheet()
    _draw(picture.subplots(), {str(title): of["y"].to_numpy(int) for title, of in counted.groupby("title", sort=False)})
    absent = rows[rows["status"] == "not run"].groupby("title", sort=False)
    notes = [f"{title}: not drawn, {of['note'].iloc[-1]}" for title, of in absent]
    shows = (
        "Examples of each class in the training part, by the formula of the imbalance or counted in the training list"
    )
    finish(picture, material, shows, notes, panels=2.5)
    return Figure(picture, rows)


def _draw(axes: Axes, curves: dict[str, np.ndarray]) -> None:
    """Ranks are shown as a share of the classes: the sets have from ten classes to hundreds of them."""
    if not curves:
        empty(axes, "no list of training examples is at hand")
        return
    for place, (title, ranked) in enumerate(curves.items()):
        classes = len(ranked)
        text = f"{title}\n{classes} classes, {ranked.sum():,} examples:\n{ranked[0]:,} to {ranked[-1]:,} a class"
        style: dict[str, Any] = {"color": COLOURS[place % 5], "linestyle": DASHES[place % 5], "zorder": 3}
        axes.step(np.arange(classes + 1) / classes, [*ranked, ranked[-1]], where="post", label=text, **style)
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_xlabel("rank of the class, as a share of all classes")
    axes.set_ylabel("training examples")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=2.6, labelspacing=1.1)
