"""An artifact with methods beside its own: `figures/SCALE/PAPER/fig5+sqrt2`, with the method sqrt2."""

import csv
from collections.abc import Sequence
from pathlib import Path

from reweigh import spreadsheets
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName, with_also
from reweigh.errors import ConfigError
from reweigh.records.record import record_path


def checked(artifact: str, also: Sequence[str], root: str | Path = ".") -> str:
    """The path, without ending, of an artifact that shows `also` beside its own methods.

    Raises ConfigError for a method that it cannot show, and for one without a record, with what would train it.
    """
    config, name = load(root), ArtifactName.parse(artifact)
    if not also and not with_also(name.name)[1]:
        return name.stem
    name = name.beside(also) if also else name
    scale, paper, _ = name
    config.artifact(paper, name.name)  # refuses a method that no experiment has which it reads
    cells = [cell for extra in (False, True) for cell in config.cells_of(*name, optional=extra)]
    for method in with_also(name.name)[1]:
        mine = [cell for cell in cells if config.run_name(config.runs_of(cell)[0]).method == method]
        if not any((config.root / record_path(run)).is_file() for cell in mine for run in config.runs_of(cell)):
            train = f"reweigh train {mine[0]}" if mine else f"scale {scale} of {paper} has no cell of it"
            raise ConfigError(f"{name.stem}: no record of {method} to draw; train one: {train}")
    return name.stem


def absent(stem: str, also: Sequence[str], root: str | Path = ".") -> list[str]:
    """Those of `also` of which the csv of a rendered artifact has no line."""
    with open(Path(root, f"{stem}.csv"), newline="", encoding="utf-8") as file:
        shown = {line.get("method") for line in spreadsheets.lines(csv.DictReader(file))}
    return [method for method in also if method not in shown]
