"""Methods and losses that live in other distributions, found by their entry points.

    [project.entry-points."reweigh.methods"]
    sqrtw = "their_package.sqrtw"       # has `Method`; its card is the `CARD` of their_package.sqrtw_card

Losses are in the group `reweigh.losses`; their modules have `Loss`. A config names them as it names ours, and what they
import of their own package is in the code closure of their runs. Planning reads cards alone: a card, and the package
that it is in, import no torch. A name that this package has is refused, and so is one that two distributions have.
"""

import functools
import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError

KINDS = {"methods": "Method", "losses": "Loss"}  # a group of entry points, and what its modules have


@functools.cache
def named(kind: str) -> dict[str, str]:
    """The modules that other distributions have for a kind ("methods", "losses"), by name, in alphabetical order.

    Raises ConfigError for a name that is taken, or that a config cannot write.
    """
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=f"reweigh.{kind}"), key=lambda point: point.name):
        what = f"{_owner(point)}: its entry point {point.name!r} of reweigh.{kind}"
        if not point.name.isidentifier() or point.name.startswith("_") or point.attr:
            raise ConfigError(f"{what} = {point.value!r} has to be a plain name of a module, name = 'package.module'")
        if _is_ours(kind, point.name):
            raise ConfigError(f"{what} is a name that Reweigh has itself; rename it there, or uninstall it")
        if point.name in found and found[point.name].value != point.value:
            raise ConfigError(f"{what} is also one of {_owner(found[point.name])}; uninstall one of them")
        found[point.name] = point
    return {name: point.module for name, point in found.items()}


def module_of(kind: str, name: str) -> str:
    """The module that has the code of a method or loss: ours, or another distribution's."""
    ours = f"reweigh.{kind}.{name}"
    return ours if _is_ours(kind, name) else named(kind).get(name, ours)


def card(kind: str, name: str) -> Any:
    """The card of a method or loss of another distribution. Raises ConfigError if there is none to be read."""
    module = f"{named(kind)[name]}_card"
    where = f"reweigh.{kind}: the card of {name!r}, CARD in {module},"
    try:
        return importlib.import_module(module).CARD
    except Exception as error:  # whatever it does when it is imported
        raise ConfigError(f"{where} cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def place(spec: Mapping[str, Any]) -> None:
    """Have the engine find what a spec names in another distribution, under the name that ours would have.

    Raises ConfigError if there is none of the name, or its module cannot be imported or has no `Method` or `Loss`.
    """
    loss = spec["method_options"].get("loss")
    for kind, name in (("methods", spec["uses"]), ("losses", loss["name"] if loss else None)):
        ours, wanted = f"reweigh.{kind}.{name}", KINDS[kind]
        if name is None or _is_ours(kind, name):
            continue
        if name not in named(kind):
            if ours in sys.modules:  # somebody has placed it before
                continue
            raise ConfigError(f"no {wanted.lower()} {name!r} here; install the distribution that has it, or add {ours}")
        module = named(kind)[name]
        try:
            found = importlib.import_module(module)
        except Exception as error:  # whatever it does when it is imported
            text = f"{type(error).__name__}: {_first_line(error)}"
            raise ConfigError(f"reweigh.{kind}: {name!r}, {module}, cannot be imported: {text}") from error
        if not hasattr(found, wanted):
            raise ConfigError(f"reweigh.{kind}: {name!r}, {module}, has no {wanted}")
        sys.modules[ours] = found


def _is_ours(kind: str, name: str) -> bool:
    return (PACKAGE / kind / f"{name}.py").is_file()


def _owner(point: Any) -> str:
    """The distribution of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "a distribution"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
