"""`reweigh new method|loss|dataset|paper NAME`: its files, from templates that are tested. Nothing is overwritten.

write("method", "focused", Path(), paper="tdr")     # the paths that were written, and what to do next
"""

import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.models import Reads
from reweigh.config.names import CellName
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError
from reweigh.planning import new_dataset, skeletons

KINDS = ("method", "loss", "dataset", "paper")
MODULE, PAPER = r"[a-z][a-z0-9_]*", r"[a-z][a-z0-9_.-]*"
NAMES = {"paper": (PAPER, ", - and ."), "dataset": (r"[a-z][a-z0-9_-]*", " and -")}
PACKAGES = {"method": "methods", "loss": "losses"}


class Written(NamedTuple):
    """What `write` wrote, as paths below the project's folder, and what to do next, a line each."""

    files: list[str]
    next: list[str]


def write(kind: str, name: str, root: Path, paper: str | None = None, joins: Sequence[str] = ()) -> Written:
    """Write the files of a new method, loss, data set or paper into the project at `root`.

    The entry of a method or a loss goes into the folder of `paper` and joins experiments of it, the first that scale
    smoke has unless others are named; without a paper it is a line of what to do next. Raises ConfigError, and writes
    nothing, for a bad name, for a file that is there already, and outside of a checkout.
    """
    lookup("kind", kind, KINDS)
    if not (root / "src/reweigh/methods/template.py").is_file():
        raise ConfigError(
            f"no src/reweigh/methods/template.py in {root.resolve()}; run this in a checkout of the project"
        )
    check_name(kind, name)
    if ((paper or joins) and kind not in PACKAGES) or (joins and not paper):
        raise ConfigError(f"--paper and --joins say where a method or a loss is trained; a {kind} has neither")
    if kind == "paper":
        files, steps = _paper(name), [_filled(step, name) for step in skeletons.NEXT_OF_PAPER]
    elif kind == "dataset":
        files, steps = new_dataset.files(name), new_dataset.steps(name, root)
    else:
        files, steps = _module(kind, name, root), _steps(kind, name)
        if paper is None:
            entry = _filled(skeletons.ENTRIES[kind], name)
            steps += [_filled(step, name).replace("{entry}", entry) for step in skeletons.NEXT_WITHOUT_PAPER]
        else:
            place = place_in(root, paper, joins)
            entry = _filled(skeletons.ENTRIES[kind], name).replace("EXPERIMENT", ", ".join(place.experiments))
            files[f"config/papers/{paper}/methods/{name}.yaml"] = f"methods:\n{entry}"
            steps += [_placed(step, name, paper, place) for step in skeletons.NEXT_IN_PAPER]
            steps = steps if place.artifact else [step for step in steps if "ARTIFACT" not in step]
    if there := [path for path in files if (root / path).exists()]:
        raise ConfigError(f"{there[0]} is there already; nothing was written")
    for path, text in files.items():
        canonical_json.write(root / path, text.encode())
    return Written(list(files), steps)


class Place(NamedTuple):
    """Where a method joins a paper: experiments, an artifact that shows it there, what that needs at scale smoke."""

    experiments: list[str]
    cells: list[CellName]  # of the method itself; their `method` is not filled in
    rivals: list[str]  # of the other methods that the artifact shows
    artifact: str  # empty if none reads the experiment


def place_in(root: Path, paper: str, joins: Sequence[str]) -> Place:
    """Where a new method joins a paper: if not said, the first experiment at scale smoke that a figure shows whole.

    Raises ConfigError for a paper or an experiment that does not exist.
    """
    config = load(root)
    lookup("paper", paper, config.papers, "--paper")
    for name in joins:
        lookup("experiment", name, config.paper(paper).experiments, "--joins")
    at_smoke = [name for name in config.experiments("smoke", paper) if config.experiment(paper, name).extension is None]
    shown = [(reads.experiment, name) for name, reads in _ranked(config, paper)]
    known = [name for name, _ in shown if name in at_smoke] + at_smoke
    chosen = list(joins) or known[:1]
    if not chosen:
        raise ConfigError(f"{paper} has no experiment at scale smoke that a method could join; name one with --joins")
    first = chosen[0]
    artifact = next((name for experiment, name in shown if experiment == first), "")
    rivals = config.cells_of("smoke", paper, artifact) if artifact else []
    cells = [CellName("smoke", paper, first, setting, "NAME") for setting in config.settings_of("smoke", paper, first)]
    return Place(chosen, cells, rivals, artifact)


def _ranked(config: Config, paper: str) -> list[tuple[str, Reads]]:
    """What the artifacts of a paper read, each with its name: first whole experiments, and of those in figures."""
    ready = {name: one for name, one in config.paper(paper).artifacts.items() if one.status == "ready"}
    pairs = [(name, reads) for name, one in ready.items() for reads in one.reads]
    return sorted(pairs, key=lambda pair: (ready[pair[0]].kind != "figure", pair[1].settings is not None))


def _steps(kind: str, name: str) -> list[str]:
    steps = skeletons.NEXT_OF_METHOD if kind == "method" else skeletons.NEXT_OF_LOSS
    return [_filled(step, name) for step in steps]


def _placed(step: str, name: str, paper: str, place: Place) -> str:
    cells = " ".join([*place.rivals, *(str(cell._replace(method=name)) for cell in place.cells)])
    return _filled(step.replace("ARTIFACT", place.artifact or "ARTIFACT").replace("CELLS", cells), name, paper)


def check_name(kind: str, name: str) -> None:
    """Raise ConfigError for what is no name of a method, a loss, a data set or a paper."""
    pattern, more = NAMES.get(kind, (MODULE, ", as a module of Python has"))
    if not re.fullmatch(pattern, name) or keyword.iskeyword(name):
        words = f"small letters, digits and _{more}"
        raise ConfigError(f"{name!r} is no name of a {kind}; use {words}, beginning with a letter")


def _module(kind: str, name: str, root: Path) -> dict[str, str]:
    """The files of a method or a loss: path -> content."""
    package = PACKAGES[kind]
    templates = {
        f"src/reweigh/{package}/{name}.py": root / f"src/reweigh/{package}/template.py",
        f"src/reweigh/config/{package}/{name}.py": root / f"src/reweigh/config/{package}/template.py",
    }
    files = {path: _renamed(template.read_text(encoding="utf-8"), kind, name) for path, template in templates.items()}
    files[f"tests/{package}/test_{name}.py"] = _filled(skeletons.TESTS[kind], name)
    return files


def _renamed(template: str, kind: str, name: str) -> str:
    """A template as the file of `name`: its first line no longer says that it is one."""
    first, rest = template.split("\n", 1)
    first = first.replace(f" `reweigh new {kind} NAME` begins from this file.", "")
    first = first.replace(f"Template of a {kind}: ", f"{name}: ").replace(
        "The card of the template", f"The card of {name}"
    )
    return f"{first}\n{rest}"


def _paper(name: str) -> dict[str, str]:
    """The files of a paper: path -> content. They are a config that loads, trains and renders one figure."""
    return {path.replace("NAME", name): _filled(text, name) for path, text in skeletons.PAPER.items()}


def _filled(text: str, name: str, paper: str = "PAPER") -> str:
    return text.replace("NAME", name).replace("PAPER", paper)
