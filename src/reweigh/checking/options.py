"""What the card of a method or loss must hold to: its options are complete, and refuse what is no number."""

import copy
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reweigh.config.cards import check_loss
from reweigh.config.validation import validated
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.listing import visible

Options = Mapping[str, Any]


def require(holds: bool, text: str) -> None:
    """Fail a check, with what is wrong, unless something holds. Raises AssertionError, as tests do."""
    if not holds:
        raise AssertionError(text)


def modules(package: str) -> list[str]:
    """The modules of a package (methods, losses) beside which there is a card, the template's too."""
    here = [path.stem for path in visible(PACKAGE / "config" / package, "[a-z]*.py")]
    return [name for name in here if hasattr(card_module(package, name), "CARD")]


def card_module(package: str, name: str) -> Any:
    """The module that holds the card of a method or a loss."""
    return importlib.import_module(f"reweigh.config.{package}.{name}")


def cases() -> list[tuple[str, Options]]:
    """(module, options) of every example on every method's card."""
    return [(name, options) for name in modules("methods") for options in card_module("methods", name).CARD.examples]


def check_options_of(card: Any, options: Options, where: str = "here") -> None:
    """The options are complete, all of them are needed, nothing else is taken, and no value may be NaN or infinite."""

    def checked(said: Options) -> dict[str, Any]:
        return checked_by(card, said, where)

    known = checked(options)
    require({key: known[key] for key in options} == options, f"the card makes {known} of {options}")
    required = [key for key, field in card.options.model_fields.items() if field.is_required()]
    require(set(required) <= set(options), f"the example {options} lacks one of {', '.join(required)}")
    for key in required:
        refused(checked, {name: value for name, value in options.items() if name != key}, "missing")
    refused(checked, {**options, "no_such_option": 1}, "unknown key 'no_such_option'")
    for path in leaves(options):
        if path[-1] != "name":
            for value in (math.nan, math.inf, -math.inf):
                refused(checked, with_value(options, path, value), path[-1])


def checked_by(card: Any, said: Options, where: str) -> dict[str, Any]:
    """Options as the card takes them, its loss too. Raises ConfigError for what it does not take."""
    known = validated(card.options, dict(said), where).model_dump()
    check_loss(known.get("loss"), f"{where}.loss")
    return known


def refused(check: Callable[[Options], Any], said: Options, says: str) -> None:
    """Fail unless a check refuses these options, with a text that has `says` in it."""
    try:
        check(said)
    except ConfigError as error:
        require(says in str(error), f"{said} is refused without a word of {says!r}: {error}")
    else:
        raise AssertionError(f"the card takes {said}, which it should refuse for {says!r}")


def leaves(tree: Options, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value in nested options."""
    for key, value in tree.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def value_at(tree: Any, path: Sequence[str]) -> Any:
    """The value at a path, None where there is none."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def with_value(tree: Options, path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with another value at a path."""
    changed = copy.deepcopy(dict(tree))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed
