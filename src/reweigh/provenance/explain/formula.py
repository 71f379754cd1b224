"""Numbers that no run feeds: a toy computed from the config, class sizes by formula or by list, measured speeds."""

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.config.grid import Config
from reweigh.data.catalogue import Edition, Manifest, Source
from reweigh.digest import PACKAGE, file_digest, source_digest
from reweigh.provenance.recompute import number
from reweigh.records import lineage, record
from reweigh.records.lineage import EDITIONS
from reweigh.streams import rng

TOY = ("weight", "example", "decision_line")
SIZES = "training_examples"


@dataclass
class Formula:
    """What a line was computed from. `again`: its numbers, computed anew; `unchecked`: why that was not done."""

    how: str
    keys: tuple[str, ...]  # where the config says what it depends on
    code: str  # the file that computes it, below src/reweigh
    again: dict[str, Any] = field(default_factory=dict)
    raw: list[dict[str, Any]] = field(default_factory=list)
    unchecked: str = ""

    def fact(self) -> dict[str, Any]:
        """As plain values; the digest of the code is today's."""
        where = {"file": f"src/reweigh/{self.code}", "digest": _code_digest(self.code)}
        return {"how": self.how, "key": ".".join(self.keys), "code": where, "raw": self.raw}


def of_line(config: Config, scale: str, paper: str, name: str, line: dict[str, str]) -> Formula | None:
    """How a figure's line that names no runs was computed; None for one that is not computed at all."""
    if line.get("status") != "computed" or paper not in config.papers:
        return None
    if line["metric"] in TOY:
        options = config.artifact(paper, name).options
        return Formula(
            f"computed from the config's options alone; random points by seed {options['seed']}",
            ("artifacts", name, "options"),
            "plots/toy.py",
            _toy(options, line),
        )
    return _sizes(config, paper, line) if line["metric"] == SIZES else None


def _toy(said: dict[str, Any], line: dict[str, str]) -> dict[str, Any]:
    """One step of logistic regression: an example's place, side and weight, or the height of a decision line."""
    draw, points, sides = rng(said["seed"], "toy"), [], []
    for side, label in ((said["positives"], 1), (said["negatives"], -1)):
        points.append(draw.normal(side["mean"], side["sd"], (int(side["count"]), 2)) / said["divisor"])
        sides += [label] * int(side["count"])
    x, y = np.vstack(points), np.array(sides)
    w, batch = np.array(said["start"], float), np.array(said["batch"])
    scores = y[batch] * (x[batch] @ w[:2] + w[2])
    tilted = np.exp(np.log1p(np.exp(-scores)) / said["lambda_"])
    weights = np.full(len(batch), 1 / len(batch)) if line["method"] == "sgd_ce" else tilted / tilted.sum()
    if line["metric"] == "decision_line":
        if line["note"] == "after":
            pull = weights * y[batch] / (1 + np.exp(scores))  # minus the gradient's factor at each example
            w = w + said["learning_rate"] * np.array([*(pull @ x[batch]), pull.sum()])
        return {"y": -(w[2] + w[0] * (number(line["x"]) or 0.0)) / w[1]}
    place = _whole(line["example"], len(y))
    again = {"class": int(y[place]), "x": x[place, 0], "y": x[place, 1]}
    return again if line["metric"] == "example" else {**again, "weight": weights[batch == place][0]}


def _sizes(config: Config, paper: str, line: dict[str, str]) -> Formula:
    """Training examples of the class of a rank: by the split's formula, or counted in the training list."""
    from reweigh.config.sizes import CLASS_SIZES

    experiment, setting = line["experiment"], line["setting"]
    method = config.experiment(paper, experiment).methods[0]
    data = config.resolve(f"paper/{paper}/{experiment}/{setting}/{method}/seed0")["data"]
    manifest, split = _manifest(config.root / "data/manifest.yaml"), data["split"]
    if split["kind"] in ("long-tail", "step"):
        classes = len(CLASS_SIZES[data["dataset"]])
        sizes = sorted((_size(split, label, classes) for label in range(classes)), reverse=True)
        how = f"the formula of the split, {split['kind']}; what it is drawn from:"
        raw = _raw(manifest, data["dataset"], lambda file: bool(file.sha256))
        keys = ("experiments", experiment, "settings", setting)
        return Formula(how, keys, "data/imbalance.py", {"y": _ranked(sizes, line)}, raw)
    found = Formula("counted in the training list", ("experiments", experiment), "plots/sizes.py")
    found.raw = _raw(manifest, data["dataset"], _is_training_list)
    if sizes := _counted(config.root, config.root / "data/manifest.yaml", data["dataset"]):
        found.again = {"y": _ranked(sizes, line)}
    else:
        found.unchecked = f"not computed again: the training list is not at hand: reweigh fetch {data['dataset']}"
    return found


def _ranked(sizes: list[int], line: dict[str, str]) -> int:
    """The size of the class of a line's rank, counted from 1."""
    return [0, *sizes][_whole(line["x"], len(sizes) + 1)]


def _whole(text: str, end: int) -> int:
    """A place from 0 in a csv field. Raises ValueError for what is no whole number below `end`."""
    value = number(text)
    if value is None or value not in range(end):
        raise ValueError(f"{text!r} is no whole number below {end}")
    return int(value)


@functools.lru_cache(maxsize=2)
def _manifest(path: Path) -> Manifest:
    return Manifest.load(path)


@functools.cache
def _code_digest(file: str) -> str:
    return source_digest((PACKAGE / file).read_text())


def _size(split: dict[str, Any], label: int, classes: int) -> int:
    """Examples of one class, rounded down; the two long tails differ in where they round (data/imbalance.py)."""
    largest, share = split["largest_class"], 1 / split["imbalance_ratio"]
    if split["kind"] == "step":
        return largest if label < classes // 2 else int(largest * share)
    if split.get("rounding") == "exact":
        return int(largest * share ** (label / (classes - 1)))
    return int(largest * (share ** (1 / (classes - 1))) ** label)


def _raw(manifest: Manifest, dataset: str, wanted: Any) -> list[dict[str, Any]]:
    """The files of a data set that a number depends on, as the manifest states them, in the shape of a record's."""
    for edition in manifest[dataset].editions:
        if files := [file for file in edition.files if wanted(file)]:
            return [stated(dataset, edition, file) for file in files]
    return []


def chain_of(
    run: str, root: Path, metric: str | None = None, epoch: float | None = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`lineage.of_run` with homepages; a record that has not the shape of one counts as one that cannot be read."""
    try:
        facts, body = lineage.of_run(run, root, metric, epoch)
        return with_homepages(facts, root), body
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        file = record.record_path(run).as_posix()
        state = f"{file}: not what a record holds ({error!r}); restore it from git or train it again"
        return {"run": run, "record": file, "state": state}, None


def with_homepages(facts: dict[str, Any], root: Path) -> dict[str, Any]:
    """A run's chain in which each raw file without an address of its own (a slice) has its data set's `homepage`."""
    if all(file["url"] for file in facts.get("raw", ())):
        return facts
    path = root / "data/manifest.yaml"
    known = _manifest(path).datasets if path.is_file() else {}
    pages = {name: dataset.homepage for name, dataset in known.items()}
    raw = [file if file["url"] else {**file, "homepage": pages.get(file["dataset"])} for file in facts["raw"]]
    return {**facts, "raw": raw}


def stated(dataset: str, edition: Edition, file: Source) -> dict[str, Any]:
    """What the manifest says of a raw file, in the shape of a record's; the address of its archive if it has none."""
    urls = file.urls or (edition.archives[file.archive].urls if file.archive else ())
    return {
        "dataset": dataset,
        "edition": edition.name,
        "name": file.name,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "source": "data/manifest.yaml",
        "url": urls[0] if urls else None,
        "what": EDITIONS.get(edition.name, edition.name),
    }


def _is_training_list(file: Source) -> bool:
    return "train" in file.name and file.name.endswith(".txt") and bool(file.sha256)


@functools.lru_cache(maxsize=8)
def _counted(root: Path, manifest: Path, dataset: str) -> list[int]:
    """Lines of each class in a data set's training list, the largest class first; empty if it is not at hand."""
    listed = _at_hand(root, _manifest(manifest), dataset)
    if listed is None:
        return []
    labels = [int(line.split()[-1]) for line in listed.read_text().splitlines() if line.strip()]
    return sorted(np.bincount(labels).tolist(), reverse=True)


def _at_hand(root: Path, manifest: Manifest, dataset: str) -> Path | None:
    """The training list in data/raw or the mirror, if it is what the manifest says."""
    mirror = os.environ.get("REWEIGH_MIRROR", "")
    for edition in manifest[dataset].editions:
        for file in filter(_is_training_list, edition.files):
            places = [
                root / "data/raw" / dataset / file.name,
                *([Path(mirror, file.mirror or file.name)] if mirror else []),
            ]
            for path in places:
                if path.is_file() and file_digest(path) == file.sha256:
                    return path
    return None
