"""How many training examples each class has: the label distributions of the paper's data sets."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reweigh.analysis.tables import Material
from reweigh.config.sizes import CLASS_SIZES
from reweigh.data.catalogue import Manifest
from reweigh.data.imbalance import long_tail_sizes, step_sizes
from reweigh.data.lists import labelled_paths
from reweigh.digest import file_digest
from reweigh.plots.style import Drawing, data_title, empty, finish, sheet, styled

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)))


@styled
def label_distributions(material: Material) -> Drawing:
    """One curve a data set, the largest class first: training examples on a log scale, by the class's rank.

    Sizes of splits that are drawn follow from the protocol of scale paper, those of the other data sets from their
    training lists, where those are at hand. csv: one line a class; one line `not run` for a data set without its list.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[str, np.ndarray] = {}
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            title = _title(material, experiment, setting)
            if title in curves:
                continue
            base = {"experiment": experiment, "setting": setting, "value": material.label(experiment, setting),
                    "title": title, "metric": "training_examples"}  # fmt: skip
            sizes, reason = sizes_of(material, experiment, setting)
            if sizes is None:
                rows.append({**base, "status": "not run", "note": reason})
                continue
            curves[title] = np.sort(sizes)[::-1]
            ranked = enumerate(curves[title].tolist(), 1)
            rows += [{**base, "status": "computed", "x": rank, "y": count} for rank, count in ranked]
    figure = sheet()
    _draw(figure.subplots(), curves)
    data = pd.DataFrame(rows)
    absent = {row["title"]: row["note"] for row in rows if row["status"] == "not run"}
    shows = (
        "Examples of each class in the training part, by the formula of the imbalance or counted in the training list"
    )
    finish(figure, material, shows, [f"{title}: not drawn, {note}" for title, note in absent.items()], panels=2.5)
    return Drawing(figure, data)


def sizes_of(material: Material, experiment: str, setting: str) -> tuple[np.ndarray | None, str]:
    """Training examples of each class, int64 (C,), by the protocol of scale paper; or None, and why."""
    run = f"paper/{material.paper}/{experiment}/{setting}/{material.experiment(experiment).methods[0]}/seed0"
    data = material.config.resolve(run)["data"]
    if (split := data["split"])["kind"] in ("long-tail", "step"):
        asked = split["largest_class"], split["imbalance_ratio"], len(CLASS_SIZES[data["dataset"]])
        exact = split.get("rounding") == "exact"
        drawn = step_sizes(*asked) if split["kind"] == "step" else long_tail_sizes(*asked, exact=exact)
        return np.array(drawn, np.int64), ""
    if listed := training_list(data["dataset"], material.config.root):
        return np.bincount(labelled_paths(listed).labels), ""
    return None, "its training list is not at hand"


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
                if _is_training_list(file.name) and path.is_file() and file_digest(path) == file.sha256:
                    return path
    return None


def _is_training_list(name: str) -> bool:
    return "train" in name and name.endswith(".txt")


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
