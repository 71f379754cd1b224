"""What a stage is made of: checks with names, what falls back where one fails, and what they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What later stages and training do without, by kind: nets and methods that are not trained, methods that are trained
# eagerly, numbers of lanes, precisions, experiments, runs.
FallsBack = Mapping[str, list[str]]
Facts = dict[str, Any]


class Failed(Exception):
    """A check did not hold; the text says what differs, in one line.

    `falls_back`, if the check knows it better than before it began, takes the place of what it named (`Check`).
    """

    def __init__(self, text: str, falls_back: FallsBack | None = None) -> None:
        super().__init__(text)
        self.falls_back = falls_back


class Skipped(Exception):
    """A check has no meaning here; the text says why."""


@dataclass(frozen=True)
class Check:
    """`action` returns a line of detail, or that and facts for later stages; it raises Failed or Skipped.

    `seconds` is how long it may take before it counts as hung.
    """

    name: str
    action: Callable[[], str | tuple[str, Facts]]
    falls_back: FallsBack = field(default_factory=dict)
    seconds: float = 60.0


@dataclass
class Context:
    """What the checks of a stage know. It travels to the stage's process as JSON."""

    device: str  # "cuda" or "cpu"
    specs: str | None = None  # the folder of `reweigh plan --specs`
    cases: str | None = None  # the file of what to check with (see `cases.py`)
    falls_back: dict[str, list[str]] = field(default_factory=dict)  # of earlier stages
    facts: Facts = field(default_factory=dict)  # of earlier stages
    seconds: float = 600.0  # until the stage has to be over
    stopped: bool = False  # whether the process was asked to stop: it begins no other check
    note: Callable[[str, str, str], None] = lambda check, status, detail: None  # an extra line of the report

    @property
    def small(self) -> bool:
        """Whether sizes are those of a test: on a CPU."""
        return self.device == "cpu"

    def shown(self, stage: str, fact: str) -> bool:
        """Whether a check of a stage held, which left this fact; True too if nobody wanted that stage."""
        return began(stage) not in self.facts or bool(self.facts.get(fact))

    @property
    def folder(self) -> Path | None:
        """The folder of specs."""
        return None if self.specs is None else Path(self.specs)

    def without(self, kind: str, name: str) -> bool:
        """Whether something fell back in an earlier stage."""
        return name in self.falls_back.get(kind, ())


def began(stage: str) -> str:
    """The fact that a stage was wanted, whether or not there was time for it."""
    return f"{stage} began"


def merged(one: FallsBack, other: FallsBack) -> dict[str, list[str]]:
    """What falls back by either.

    >>> merged({"nets": ["mlp"]}, {"nets": ["lenet"], "lanes": ["4"]})
    {'lanes': ['4'], 'nets': ['lenet', 'mlp']}
    """
    return {kind: sorted({*one.get(kind, ()), *other.get(kind, ())}) for kind in sorted({*one, *other})}


def described(falls_back: FallsBack) -> str:
    """What falls back, for a line of the report.

    >>> described({"nets": ["lenet", "mlp"], "lanes": ["4"]})
    'nets without lenet, mlp; lanes without 4'
    """
    return "; ".join(f"{kind} without {', '.join(names)}" for kind, names in falls_back.items() if names)
