"""`reweigh new method|loss|paper NAME`: the files of a new one, from templates that are tested. Nothing is overwritten.

write("method", "focused", Path(), paper="tdr")     # the paths that were written, and what to do next
"""

import keyword
import re
from pathlib import Path
from typing import NamedTuple

from reweigh import canonical_json
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError
from reweigh.planning import skeletons

KINDS = ("method", "loss", "paper")
MODULE, PAPER = r"[a-z][a-z0-9_]*", r"[a-z][a-z0-9_.-]*"
PACKAGES = {"method": "methods", "loss": "losses"}


class Written(NamedTuple):
    """What `write` wrote, as paths below the project's folder, and what to do next, a line each."""

    files: list[str]
    next: list[str]


def write(kind: str, name: str, root: Path, paper: str | None = None) -> Written:
    """Write the files of a new method, loss or paper into the project at `root`.

    The entry of a method or a loss goes into the folder of `paper`; without one it is a line of what to do next. Raises
    ConfigError, and writes nothing, for a bad name, for a file that is there already, and outside of a checkout.
    """
    lookup("kind", kind, KINDS)
    if not (root / "src/reweigh/methods/template.py").is_file():
        raise ConfigError(
            f"no src/reweigh/methods/template.py in {root.resolve()}; run this in a checkout of the project"
        )
    _check_name(kind, name)
    if kind == "paper":
        files, steps = _paper(name), skeletons.NEXT_OF_PAPER
    else:
        files, steps = (
            _module(kind, name, root, paper),
            skeletons.NEXT_OF_METHOD if kind == "method" else skeletons.NEXT_OF_LOSS,
        )
    if there := [path for path in files if (root / path).exists()]:
        raise ConfigError(f"{there[0]} is there already; nothing was written")
    for path, text in files.items():
        canonical_json.write(root / path, text.encode())
    filled = [_filled(step, name, paper or "PAPER") for step in steps]
    if kind != "paper" and paper is None:
        filled.insert(1, f"add to the `methods` of a paper, in config/papers/PAPER/methods.yaml:\n{_entry(kind, name)}")
    return Written(list(files), filled)


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(PAPER if kind == "paper" else MODULE, name) or keyword.iskeyword(name):
        words = "small letters, digits and _" + (", - and ." if kind == "paper" else ", as a module of Python has")
        raise ConfigError(f"{name!r} is no name of a {kind}; use {words}, beginning with a letter")


def _module(kind: str, name: str, root: Path, paper: str | None) -> dict[str, str]:
    """The files of a method or a loss: path -> content."""
    package = PACKAGES[kind]
    templates = {
        f"src/reweigh/{package}/{name}.py": root / f"src/reweigh/{package}/template.py",
        f"src/reweigh/config/{package}/{name}.py": root / f"src/reweigh/config/{package}/template.py",
    }
    files = {path: _renamed(template.read_text(), kind, name) for path, template in templates.items()}
    files[f"tests/{package}/test_{name}.py"] = _filled(skeletons.TESTS[kind], name)
    if paper is not None:
        folders = sorted(path.parent.name for path in (root / "config/papers").glob("*/paper.yaml"))
        lookup("paper", paper, folders, "--paper")
        files[f"config/papers/{paper}/methods/{name}.yaml"] = f"methods:\n{_entry(kind, name)}"
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


def _entry(kind: str, name: str) -> str:
    return _filled(skeletons.ENTRIES[kind], name)


def _filled(text: str, name: str, paper: str = "") -> str:
    return text.replace("NAME", name).replace("PAPER", paper)
