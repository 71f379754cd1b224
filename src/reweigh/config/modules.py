"""The modules of models and readers, and the options that they take: read from their source, without pydantic."""

import ast
import functools
from collections.abc import Sequence
from typing import Any

from reweigh.config.broken import unreadable
from reweigh.config.lookup import lookup
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.listing import visible

# Arguments that are no options: how many come first in what makes a model, and in what reads a data set.
GIVEN = {"build": 3, "read": 1}


@functools.cache
def modules(package: str, defines: str) -> dict[str, dict[str, bool]]:
    """The modules of a package that define a function `defines`, and its options: must they be stated?

    They are read, not imported: most of them import torch, which takes seconds.
    """
    modules = {}
    for path in visible(PACKAGE / package, "*.py"):
        if path.stem in unreadable(package):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == defines and path.stem != "__init__":
                options = node.args.args[GIVEN[defines] :]
                required = len(options) - len(node.args.defaults)
                modules[path.stem] = {option.arg: place < required for place, option in enumerate(options)}
    return modules


@functools.cache
def readers() -> dict[str, dict[str, bool]]:
    """The data sets that have a reader, and its options."""
    return {name.replace("_", "-"): options for name, options in modules("data/readers", "read").items()}


def check_modules(spec: dict[str, Any], where: str, absent: Sequence[str] = ()) -> None:
    """Model and data set must have their modules, which must take the options given to them; `absent` ones must not."""
    for key, what, name, options, known in (
        ("model", "model", spec["model"]["name"], spec["model"]["options"], modules("models", "build")),
        ("dataset", "data set", spec["data"]["dataset"], spec["data"]["options"], readers()),
    ):
        if key in absent:
            if name in known:
                raise ConfigError(f"{where}: absent names {key}, but {what} {name} is here; take it out")
            continue
        package = {"model": "models", "dataset": "data/readers"}[key]
        if why := unreadable(package).get(name.replace("-", "_")):
            raise ConfigError(f"{where}: {why}")
        takes = lookup(what, name, known, where)
        for option in options:
            lookup(f"option of {what} {name}", option, takes, where)
        if missing := [option for option, needed in takes.items() if needed and option not in options]:
            raise ConfigError(f"{where}: {what} {name} needs its option {missing[0]!r}")
