"""What HAR's figures share: colours and words of the cells of classes, the names of classes, and which runs log what.

Warm colours are noisy classes and cool ones clean; dark ones are rare, light ones common (Okabe and Ito's).
"""

import pandas as pd

from reweigh.analysis.tables import Material
from reweigh.cells import CELLS, cells
from reweigh.plots.style import data_title

COLOURS = dict(zip(CELLS, ("#D55E00", "#E69F00", "#0072B2", "#56B4E9"), strict=True))
WORDS = {cell: " and ".join(cell.split("_")) for cell in CELLS}  # noisy and rare, ...
DESIGNS = {  # which cells have classes, in words
    frozenset(CELLS): "rare and noisy apart",
    frozenset({"noisy_rare", "clean_common"}): "the noisy classes are rare",
    frozenset({"noisy_common", "clean_common"}): "no class is rare",
}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cells_of(material: Material, experiment: str, setting: str) -> dict[str, list[int]]:
    """The classes of each cell of a setting, as its runs were drawn; nothing where it has none, or none was run."""
    runs = material.runs
    mine = runs[(runs["experiment"] == experiment) & (runs["setting"] == setting)]["run"]
    if mine.empty:
        return {}
    body = material.records[mine.iloc[0]]
    return cells(body["spec"]["data"]["split"], len(body["split"]["sizes"]["train"]))


def class_name(material: Material, experiment: str, label: int) -> str:
    """What a class is called: a digit, or what CIFAR-10's images show."""
    dataset = material.experiment(experiment).dataset or ""
    return CIFAR10[label] if dataset.startswith("cifar10") and not dataset.startswith("cifar100") else str(label)


def place_title(material: Material, experiment: str, setting: str) -> str:
    """A data set, and which of its classes are rare: `MNIST, rare and noisy apart`; what was not run, by its title."""
    one, found = material.experiment(experiment), cells_of(material, experiment, setting)
    if words := DESIGNS.get(frozenset(found)):
        return f"{data_title(one.dataset)}, {words}"
    return f"{one.title}: {material.label(experiment, setting)}" if len(one.settings) > 1 else one.title


def places_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The experiments and settings of some lines, each once."""
    return list(dict.fromkeys(zip(rows["experiment"], rows["setting"], strict=True)))
