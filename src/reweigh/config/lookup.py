"""A name among those that exist; without pydantic, for a bare GPU machine has none."""

from collections.abc import Iterable, Mapping
from typing import Any

from reweigh.errors import ConfigError
from reweigh.nearest import nearest


def lookup(what: str, name: str, known: Any, where: str = "") -> Any:
    """`known[name]` (or `name` where `known` is a list); a ConfigError with the nearest name if it is not there.

    >>> lookup("method", "tdrr", ["tdr", "er"], "config.yaml")
    Traceback (most recent call last):
    reweigh.errors.ConfigError: config.yaml: unknown method 'tdrr'; did you mean 'tdr'?
    """
    if name in known:
        return known[name] if isinstance(known, Mapping) else name
    prefix = f"{where}: " if where else ""
    raise ConfigError(f"{prefix}unknown {what} {name!r}{suggestion(name, known)}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, or all of them, to end an error with."""
    names = list(known)
    near = nearest(str(word), names)
    return f"; did you mean {near!r}?" if near else f"; known: {', '.join(names) or 'none'}"
