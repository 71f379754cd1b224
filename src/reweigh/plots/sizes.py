"""How many training examples each class has: the label distributions of the paper's data sets.

Sizes follow from a formula or are counted in a training list. Where a list is not at hand, the law by which the paper
says that a set was sampled gives a curve all the same, through the facts that are stated: classes, examples, ends. It
is drawn as such, also for a set whose list is at hand, so that one sees what it is worth.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.optimize import brentq

from reweigh.analysis.rows import CLASS_SIZE, LAW_SIZE, Row
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config
from reweigh.config.known_sizes import labelled
from reweigh.data.catalogue import Manifest
from reweigh.data.imbalance import class_sizes
from reweigh.data.readers.lists import labelled_paths
from reweigh.digest import file_digest
from reweigh.plots.axes import powers
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import data_title, empty, finish, sheet

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)))  # dots are for what is not counted
BY_LAW: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (1, 1.6))}


def rows(material: Material) -> pd.DataFrame:
    """One line a class of each data set, the largest first: its rank (`x`, from 1) and training examples (`y`).

    Sizes of splits that are drawn follow from the protocol of scale paper, those of the other data sets from their
    training lists, where those are at hand. A data set without its list has one line, `not run`. Of the data sets among
    `laws` (an option of the artifact) follow the same by the stated law, under a metric of their own.
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
    return pd.DataFrame([*lines, *_law_rows(material)])


def _law_rows(material: Material) -> list[Row]:
    """The same of the data sets whose law and ends the paper states, computed from these alone."""
    lines: list[Row] = []
    for experiment, law in material.artifact.options.get("laws", {}).items():
        title = f"{_title(material, experiment, material.settings(experiment)[0])}, by its law"
        base: Row = {"experiment": experiment, "title": title, "metric": LAW_SIZE, "status": "computed"}
        lines += [{**base, "x": rank, "y": float(size)} for rank, size in enumerate(sizes_by_law(law), 1)]
    return lines


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
    return np.array(class_sizes(split, split["largest_class"], len(labelled(data) or [])), np.int64)


def sizes_by_law(law: Mapping[str, Any]) -> np.ndarray:
    """Class sizes, float64 (C,), the largest first, by Pareto's law of the second kind through the stated facts.

    Its quantiles at the ranks, u^(−1/shape) − 1 with u = (rank − ½)/C, times the scale at which they sum to the stated
    number of examples once they are cut off at the stated ends. The first kind cannot be meant: between its ends lies a
    factor of C^(1/shape), three for a thousand classes.
    """
    ranks = np.arange(1, law["classes"] + 1)
    quantiles = ((ranks - 0.5) / law["classes"]) ** (-1 / law["shape"]) - 1

    def cut(scale: float) -> np.ndarray:
        return np.clip(scale * quantiles, law["smallest"], law["largest"])

    scale = brentq(lambda value: cut(value).sum() - law["examples"], 0, law["largest"] / quantiles[-1])
    return cut(scale)


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
    """One curve a data set: training examples on a log scale, by the class's rank; thin and dotted those by a law."""
    curves = {
        metric: {str(title): of["y"].to_numpy() for title, of in lines.groupby("title", sort=False)}
        for metric, lines in rows[rows["status"] == "computed"].groupby("metric", sort=False)
    }
    counted, by_law = curves.get(CLASS_SIZE, {}), curves.get(LAW_SIZE, {})
    picture = sheet()
    _draw(picture.subplots(), counted, by_law)
    absent = rows[rows["status"] == "not run"].groupby("title", sort=False)
    notes = [_absence(str(title), of["note"].iloc[-1], by_law) for title, of in absent]
    shows = (
        "Examples of each class in the training part, by the formula of the imbalance or counted in the training list"
    )
    finish(picture, material, shows, [*notes, *_of_laws(material, counted, by_law)], panels=2.9)
    return Figure(picture, rows)


def _absence(title: str, reason: str, by_law: dict[str, np.ndarray]) -> str:
    """Why there is no counted curve, or none at all."""
    if f"{title}, by its law" in by_law:
        return f"{title}: drawn by its law alone, {reason}"
    return f"{title}: not drawn, {reason}, and the paper states neither its law nor its ends"


def _of_laws(material: Material, counted: dict[str, np.ndarray], by_law: dict[str, np.ndarray]) -> list[str]:
    """What the dotted curves are, and how far they are from a list that is at hand."""
    if not by_law:
        return []
    shape = next(iter(material.artifact.options["laws"].values()))["shape"]
    text = (
        f"Dotted: not counted, but Pareto's law of power {shape:g}, by which the paper says that the set was sampled, "
        "through the stated number of classes and examples, the largest and the smallest class"
    )
    pairs = [(title, sizes, by_law.get(f"{title}, by its law")) for title, sizes in counted.items()]
    misses = [_miss(title, sizes, law) for title, sizes, law in pairs if law is not None]
    return ["; ".join([text, *misses])]


def _miss(title: str, sizes: np.ndarray, law: np.ndarray) -> str:
    """How far a law is from counted sizes, both (C,), the largest first."""
    median = np.exp(np.median(np.abs(np.log(law / sizes))))
    head = np.exp(np.abs(np.log(law[0] / sizes[0])))
    return f"off by a factor of {median:.1f} in the median class of {title}, of {head:.1f} in its largest"


def _draw(axes: Axes, curves: dict[str, np.ndarray], by_law: dict[str, np.ndarray]) -> None:
    """Ranks are shown as a share of the classes: the sets have from ten classes to hundreds of them."""
    if not curves and not by_law:
        empty(axes, "no list of training examples is at hand")
        return
    colours = iter(COLOURS)
    colour_of = {}
    for place, (title, ranked) in enumerate(curves.items()):
        colour_of[title] = next(colours)
        _curve(axes, title, ranked, color=colour_of[title], linestyle=DASHES[place % len(DASHES)], zorder=3)
    for title, ranked in by_law.items():
        known = title.removesuffix(", by its law")
        _curve(axes, title, ranked, color=colour_of.get(known) or next(colours), zorder=2, **BY_LAW)
    axes.set_yscale("log")
    powers(axes.yaxis)
    axes.set_xlim(0, 1)
    axes.set_xlabel("rank of the class, as a share of all classes")
    axes.set_ylabel("training examples")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=2.6, labelspacing=0.9)


def _curve(axes: Axes, title: str, ranked: np.ndarray, **style: Any) -> None:
    classes = len(ranked)
    text = f"{title}\n{classes:,} classes, {ranked.sum():,.0f} examples:\n{ranked[0]:,.0f} to {ranked[-1]:,.0f} a class"
    axes.step(np.arange(classes + 1) / classes, [*ranked, ranked[-1]], where="post", label=text, **style)
