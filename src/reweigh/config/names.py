"""The names of runs, cells and splits, with their parts. Nothing here imports more than the standard library.

A name is a path: that of a run's record below results/, and of a split's files below data/splits/.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from reweigh.errors import ConfigError


class NotAName(ConfigError):
    """A text that is not the name of what was asked for."""


_PART = r"[^/\s]+"
_SEED = r"seed(?P<seed>0|[1-9][0-9]*)"
_EXPERIMENT = rf"(?P<scale>{_PART})/(?P<paper>{_PART})/(?P<experiment>{_PART})"
_SETTING = rf"{_EXPERIMENT}/(?P<setting>{_PART})"
_CELL = rf"{_SETTING}/(?P<method>{_PART})"


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
        return cls(**_parts(text, rf"{_SETTING}/{_SEED}", "split", "SCALE/PAPER/EXPERIMENT/SETTING/seedN"))

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}/{self.setting}/seed{self.seed}"


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
        return cls(**_parts(text, _CELL, "cell", "SCALE/PAPER/EXPERIMENT/SETTING/METHOD"))

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
        return cls(**_parts(text, rf"{_CELL}/{_SEED}", "run", "SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN"))

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> "RunName":
        """The name of the run that a resolved spec describes."""
        return cls(*(spec[part] for part in cls._fields))

    @property
    def cell(self) -> CellName:
        """The cell that it belongs to: its name without the seed."""
        return CellName(*self[:-1])

    @property
    def split(self) -> SplitName:
        """The split that it trains on: its name without the method."""
        return SplitName(self.scale, self.paper, self.experiment, self.setting, self.seed)

    def __str__(self) -> str:
        return f"{self.scale}/{self.paper}/{self.experiment}/{self.setting}/{self.method}/seed{self.seed}"


def _parts(text: str, pattern: str, what: str, form: str) -> dict[str, Any]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise NotAName(f"{text!r} is not the name of a {what}; write {form}")
    parts: dict[str, Any] = match.groupdict()
    return {**parts, "seed": int(parts["seed"])} if "seed" in parts else parts
