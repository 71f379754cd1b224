"""config/priorities.yaml: in which order `reweigh fill` trains what is missing, and why."""

import fnmatch
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from reweigh.config import files
from reweigh.config.files import Place
from reweigh.config.grid import Config
from reweigh.config.specs import Frozen, Name
from reweigh.config.validation import lookup, validated
from reweigh.errors import ConfigError

PRIORITIES = "config/priorities.yaml"
Pattern = Annotated[str, Field(pattern=r"^[^/\s]+(/[^/\s]+){0,2}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Priority(Frozen):
    """Some cells of a paper, and why they come at this place. `gpu`: they are left to machines that have one."""

    paper: Name
    cells: Annotated[list[Pattern], Field(min_length=1)]
    why: Sentence
    gpu: bool = False


class Priorities(Frozen):
    """config/priorities.yaml."""

    priorities: Annotated[list[Priority], Field(min_length=1)]


@dataclass(frozen=True)
class Entry:
    """An entry of the list, and where it stands."""

    priority: Priority
    place: Place

    @property
    def title(self) -> str:
        """The entry in one line: `tdr: mnist-lt/rho0.1, mnist-lt/rho0.05`."""
        return f"{self.priority.paper}: {', '.join(self.priority.cells)}"

    def cells(self, config: Config, scale: str) -> list[str]:
        """The cells that it names at a scale, in its own order; none where that scale leaves them out.

        Only a name without `*`, `?` or `[` may be that of an extension. Raises ConfigError for what fits nothing.
        """
        cells = [cell for text in self.priority.cells for cell in self._matched(config, scale, text)]
        for cell in cells:
            if reason := config.placeholder(f"{cell}/seed0"):
                raise ConfigError(f"{self.place}: {cell} is a placeholder, which nothing trains: {reason}")
        return list(dict.fromkeys(cells))

    def _matched(self, config: Config, scale: str, text: str) -> list[str]:
        name = self.priority.paper
        experiments = lookup("paper", name, config.papers, str(self.place)).experiments
        wanted, setting, method = (*text.split("/"), "*", "*")[:3]
        in_grid = config.experiments("paper", name) if _is_pattern(wanted) else experiments
        chosen = {one: experiments[one] for one in self._fitting("experiment", wanted, in_grid)}
        for experiment, one in chosen.items():
            if one.status != "ready":
                raise ConfigError(f"{self.place}: {experiment} cannot be run: {one.reason}")
        self._fitting("setting", setting, [key for one in chosen.values() for key in one.settings])
        meant = [one.methods if _is_pattern(method) else one.with_extensions for one in chosen.values()]
        self._fitting("method", method, [key for keys in meant for key in keys])
        return [
            f"{scale}/{name}/{experiment}/{at}/{by}"
            for experiment, one in chosen.items()
            if scale == "paper" or scale in one.scales
            for at in _matches(setting, config.settings_of(scale, name, experiment))
            for by in _matches(method, self._methods(config, scale, experiment, method))
            if one.has(at, by) or not _is_pattern(setting)  # an extension may have some of the settings only
        ]

    def _methods(self, config: Config, scale: str, experiment: str, pattern: str) -> list[str]:
        """The methods of the grid; with those of extensions at scale `paper` where they are named."""
        if scale == "paper" and not _is_pattern(pattern):
            return config.experiment(self.priority.paper, experiment).with_extensions
        return config.methods_of(scale, self.priority.paper, experiment)

    def _fitting(self, what: str, pattern: str, known: Iterable[str]) -> list[str]:
        """The names that fit a pattern. Raises ConfigError, with the nearest name, if none does."""
        known = list(dict.fromkeys(known))
        if found := _matches(pattern, known):
            return found
        if _is_pattern(pattern):
            raise ConfigError(f"{self.place}: no {what} fits {pattern!r}; known: {', '.join(known)}")
        return [lookup(what, pattern, known, str(self.place))]


def entries(config: Config) -> list[Entry]:
    """The list in its order, checked against the config. Raises ConfigError at the first mistake."""
    path = config.root / PRIORITIES
    if not path.is_file():
        raise ConfigError(f"no {PRIORITIES} in {config.root}; config/README.md says what stands in it")
    node = files.read(path, PRIORITIES)
    places = files.places(node)
    content = validated(Priorities, files.plain(node), functools.partial(files.nearest, places))
    listed = [Entry(one, places["priorities", str(number)]) for number, one in enumerate(content.priorities)]
    for entry in listed:
        entry.cells(config, "paper")
    return listed


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _matches(pattern: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if fnmatch.fnmatchcase(name, pattern)]
