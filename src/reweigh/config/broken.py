"""Modules of methods, losses, models and readers that Python cannot read: which file, which line, why.

A fault of one file is a fault of what uses it, and of nothing else. So it is noted here, and said by whoever needs the
module: `broken("methods")` is `{"sqrt2": "src/reweigh/methods/sqrt2.py:12: invalid syntax; mend it"}`.
"""

import ast
import functools
import traceback
from pathlib import Path

from reweigh import plugins
from reweigh.digest import PACKAGE, closure, shown_path
from reweigh.errors import ConfigError, ReweighError
from reweigh.listing import visible

_CARDS: dict[tuple[str, str], str] = {}  # what is wrong with a card, by its package and name


def fault(error: BaseException, path: Path) -> str:
    """What is wrong with a file, in one line that begins with file and line: those of `path` that the error names."""
    shown = shown_path(path)
    if isinstance(error, SyntaxError):
        return f"{shown}:{error.lineno or 1}: {error.msg}; mend it"
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if Path(one.filename) == path]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{shown}:{lines[-1] if lines else 1}: {what}; mend it"


def note_card(package: str, path: Path, error: Exception) -> None:
    """Remember that the card at `path` cannot be imported."""
    _CARDS[package, path.stem] = fault(error, path)


def check_card(package: str, name: str, where: str) -> None:
    """Raise ConfigError, beginning with `where`, if the card of a module cannot be imported."""
    if why := _CARDS.get((package, name)):
        raise ConfigError(f"{where}: {why}" if where else why)


def broken(package: str) -> dict[str, str]:
    """The modules of a package whose code or card cannot be read, and why. Cards must have been asked for before."""
    cards = {name: why for (of, name), why in _CARDS.items() if of == package}
    return {**cards, **unreadable(package)}


@functools.cache
def unreadable(package: str) -> dict[str, str]:
    """The modules of a package (`methods`, `data/readers`) whose code is not Python, and why. Nothing is imported.

    Of another distribution also those that import such a module of their own.
    """
    found = {}
    for path in visible(PACKAGE / package, "*.py"):
        try:
            ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            found[path.stem] = fault(error, path)
    for name, module in plugins.named(package).items() if package in plugins.KINDS else ():
        try:
            closure([module])
        except (ReweighError, ModuleNotFoundError) as error:
            found[name] = f"{error} (reweigh.{package}: {name!r} of another distribution, {module})"
    return found
