"""The names of runs, cells, splits, experiments and artifacts, with their parts. Imports no other package.

A name is a path: that of a run's record below results/, of a split's files below data/splits/, of an artifact's files
below figures/. As a key, in JSON and in Snakemake's wildcards it is written as a string.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reweigh.errors import ConfigError
from reweigh.path_parts import PART, below


class NotAName(ConfigError):
    """A text that is not the name of what was asked for."""


_SEED = r"seed(?P<seed>0|[1-9][0-9]*)"
_EXPERIMENT = rf"(?P<scale>{PART})/(?P<paper>{PART})/(?P<experiment>{PART})"
_SETTING = rf"{_EXPERIMENT}/(?P<setting>{PART})"
_CELL = rf"{_SETTING}/(?P<method>{PART})"
_ARTIFACT = rf"(?P<scale>{PART})/(?P<paper>{PART})/(?P<name>{PART})"
ARTIFACT_ENDINGS = ("pdf", "png", "csv", "ipynb", "json")  # of an artifact's files; the json is its receipt
_MANY = 2**16  # names kept parsed: planning asks several times for those of a large grid


class ExperimentName(NamedTuple):
    """An experiment at a scale. `SCALE/PAPER/EXPERIMENT`."""

    scale: str
    paper: str
    experiment: str

    @classmethod
    def parse(cls, text: str) -> "ExperimentName":
        """The experiment of that name. Raises NotAName, a ConfigError, if the text is no name of an experiment."""
        return cls(**_parts(text, _EXPERIMENT, "an experiment", "SCALE/PAPER/EXPERIMENT"))

    def cell(self, setting: str, method: str) -> "CellName":
        """The cell of a method at a setting of this experiment."""
        return CellName(*self, setting, method)

    def split(self, setting: str, seed: int) -> "SplitName":
        """The split of a setting of this experiment with a seed."""
        return SplitName(*self, setting, seed)

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}"


class SplitName(NamedTuple):
    """A split: the methods of one setting share it. `SCALE/PAPER/EXPERIMENT/SETTING/seedN`."""

    scale: str
    paper: str
    experiment: str
    setting: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> "SplitName":
        """The split of that name. Raises NotAName, a ConfigError, if the text is no name of a split."""
        return cls(**_parts(text, rf"{_SETTING}/{_SEED}", "a split", "SCALE/PAPER/EXPERIMENT/SETTING/seedN"))

    def run(self, method: str) -> "RunName":
        """The run of a method that trains on this split."""
        return RunName(self.scale, self.paper, self.experiment, self.setting, method, self.seed)

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}/{self.setting}/{seed_part(self.seed)}"


class CellName(NamedTuple):
    """All seeds of one method at one setting. `SCALE/PAPER/EXPERIMENT/SETTING/METHOD`."""

    scale: str
    paper: str
    experiment: str
    setting: str
    method: str

    @classmethod
    def parse(cls, text: str) -> "CellName":
        """The cell of that name. Raises NotAName, a ConfigError, if the text is no name of a cell."""
        return cls(**_parts(text, _CELL, "a cell", "SCALE/PAPER/EXPERIMENT/SETTING/METHOD"))

    def run(self, seed: int) -> "RunName":
        """The run of this cell with a seed."""
        return RunName(*self, seed)

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}/{self.setting}/{self.method}"


class RunName(NamedTuple):
    """One training: experiment, setting, method and seed, at a scale. `SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN`.

    >>> run = RunName.parse("paper/tdr/mnist-4v9/rho0.005/tdr/seed0")
    >>> run.method, run.seed, str(run.split)
    ('tdr', 0, 'paper/tdr/mnist-4v9/rho0.005/seed0')
    """

    scale: str
    paper: str
    experiment: str
    setting: str
    method: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> "RunName":
        """The run of that name. Raises NotAName, a ConfigError, if the text is no name of a run."""
        return _run(text)

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> "RunName":
        """The name of the run that a resolved spec describes. Raises ConfigError for one that leads out of a folder."""
        run = cls(*(spec[part] for part in cls._fields))
        below(str(run))
        return run

    @property
    def cell(self) -> CellName:
        """The cell that it belongs to: its name without the seed."""
        return CellName(*self[:-1])

    @property
    def split(self) -> SplitName:
        """The split that it trains on: its name without the method."""
        return SplitName(self.scale, self.paper, self.experiment, self.setting, self.seed)

    @property
    def short(self) -> str:
        """What tells it from the other runs of its setting: `METHOD:seedN`."""
        return f"{self.method}:{seed_part(self.seed)}"

    @property
    def of_experiment(self) -> ExperimentName:
        """The experiment that it belongs to, at its scale."""
        return ExperimentName(self.scale, self.paper, self.experiment)

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}/{self.setting}/{self.method}/{seed_part(self.seed)}"


def seed_part(seed: int) -> str:
    """The last part of the name of a run or split, and the stem of their files: `seed0`."""
    return f"seed{seed}"


@functools.lru_cache(maxsize=_MANY)
def _run(text: str) -> RunName:
    return RunName(**_parts(text, rf"{_CELL}/{_SEED}", "a run", "SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN"))


class ArtifactName(NamedTuple):
    """A figure or table of a paper, at a scale. `SCALE/PAPER/NAME`; its files are `figures/SCALE/PAPER/NAME.*`."""

    scale: str
    paper: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "ArtifactName":
        """The artifact of that name; `figures/` before it and the ending of one of its files after it may be given.

        Raises NotAName, a ConfigError, if the text is no name of an artifact.
        """
        stem = text.strip("/").removeprefix("./").removeprefix("figures/")
        ending = stem.rpartition(".")[2]
        if ending in ARTIFACT_ENDINGS:
            stem = stem.removesuffix(f".{ending}")
        match = re.fullmatch(_ARTIFACT, stem)
        if match is None:
            raise NotAName(
                f"{text!r} is not the name of an artifact; write figures/SCALE/PAPER/NAME, e.g. figures/quick/tdr/fig5"
            )
        return cls(**match.groupdict())

    def beside(self, methods: Sequence[str]) -> "ArtifactName":
        """The artifact with these methods beside its own; its files lie apart from those of the artifact itself."""
        return self._replace(name="+".join([self.name, *methods]))

    @property
    def stem(self) -> str:
        """Its files' path below the project, without their endings: `figures/SCALE/PAPER/NAME`."""
        return f"figures/{self}"

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.name}"


def with_also(name: str) -> tuple[str, list[str]]:
    """The name of an artifact as the config has it, and the methods that it is to show beside its own.

    >>> with_also("fig5+sqrt2+focused"), with_also("fig5")
    (('fig5', ['sqrt2', 'focused']), ('fig5', []))
    """
    base, *also = name.split("+")
    return base, also


def _parts(text: str, pattern: str, what: str, form: str) -> dict[str, Any]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise NotAName(f"{text!r} is not the name of {what}; write {form}")
    parts: dict[str, Any] = match.groupdict()
    return {**parts, "seed": int(parts["seed"])} if "seed" in parts else parts
