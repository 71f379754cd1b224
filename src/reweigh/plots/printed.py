"""What a paper itself writes: what it calls a method, and its numbers with the digits that it prints."""

import csv
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from reweigh.analysis.published import published
from reweigh.analysis.tables import Material
from reweigh.config.grid import Config

Key = tuple[str, str, str, str]  # experiment, setting, method, metric


def name_of(material: Material, method: str) -> str:
    """What the paper's table calls a method, or else the paper anywhere; our title of one that it does not have."""
    for numbers in (material.stated, material.published):
        names = numbers[(numbers["method_name"] == method) & numbers["against"].isna()]["method"]
        if len(names):
            return str(names.iloc[0])
    return material.title(method)


def head(material: Material, method: str, run: bool) -> str:
    """What stands over a method's numbers: the paper's name; where ours was `run` and is called otherwise, both."""
    theirs, ours = name_of(material, method), material.title(method)
    return f"{theirs} (ours: {ours})" if run and theirs != ours else theirs


def texts(config: Config, paper: str) -> pd.DataFrame:
    """The published numbers (`analysis.published`) with `mean_text` and `std_text`, which have the paper's digits."""
    numbers, mapping = published(config, paper), config.paper(paper).published
    if mapping is None:
        return numbers.assign(mean_text="", std_text="")
    with (config.root / mapping.file).open(newline="", encoding="utf-8") as file:
        raw = list(csv.DictReader(file))
    both = {f"{name}_text": [row[name].strip() for row in raw] for name in ("mean", "std")}
    return numbers.assign(**both)


def with_digits(material: Material, cells: list[dict[Hashable, Any]]) -> list[dict[Hashable, Any]]:
    """The cells of a table, those with a published number with its text in `paper`: `42.33 ± 0.8`."""
    numbers = texts(material.config, material.paper)
    found: dict[Key, str] = {}
    for row in numbers[numbers["mean"].notna()].to_dict("records"):  # of a cell that stands twice the first counts
        key = (row["experiment"], row["setting_name"], row["method_name"], row["metric"])
        found.setdefault(key, _text(row))
    return [{**cell, "paper": found.get(_key(cell), "")} for cell in cells]


def _key(cell: Mapping[Hashable, Any]) -> Key:
    return cell["experiment"], cell["setting"], cell["method"], cell["metric"]


def _text(row: Mapping[Hashable, Any]) -> str:
    return f"{row['mean_text']} ± {row['std_text']}" if pd.notna(row["std"]) else str(row["mean_text"])
