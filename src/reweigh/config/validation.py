"""Errors of the config that name the file, the key and the nearest valid word."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reweigh.config.lookup import lookup, suggestion
from reweigh.errors import ConfigError

__all__ = ["lookup", "validated"]
M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], content: dict[str, Any], where: str | Callable[[Sequence[str]], str]) -> M:
    """`content` as a model; a ConfigError, in one line that begins with `where`, if it is not one.

    `where` may be a function: given the path of the key that is wrong, it says where that stands.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=_helps_less)
        loc = tuple(str(part) for part in first["loc"])
        place = where if isinstance(where, str) else where(loc)
        raise ConfigError(f"{place}: {_first(model, error, first, loc)}") from None


def _helps_less(error: Any) -> int:
    """The least for what says most: a misspelt key is a missing one too, and a block is not meant to be a word."""
    if error["type"] == "extra_forbidden":
        return 0
    return 2 if error["type"] == "literal_error" and isinstance(error["input"], dict) else 1


def _first(model: type[BaseModel], error: ValidationError, first: Any, loc: tuple[str, ...]) -> str:
    """The first thing wrong, in one line: the key's path, what is wrong with it, and the nearest valid word."""
    # Pydantic adds steps that are no keys: `[key]`, and what it tried of a union, such as `function-after[...]`.
    path = ".".join(part for part in loc if "[" not in part)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {path!r}{suggestion(loc[-1], _words_at(model, loc[:-1]))}{more}"
    if first["type"] == "missing":
        return f"{path!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = f", is {first['input']!r:.120}" if not isinstance(first["input"], dict | list) else ""
    if isinstance(first["input"], int | float) and (bounds := _range_at(model, loc)):
        value += f" (valid: {bounds})"
    return f"{path}: {message}{value}{more}" if path else f"{message}{more}"


_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _range_at(annotation: Any, loc: Sequence[str], metadata: Iterable[Any] = ()) -> str:
    """The bounds of the number at `loc` inside a value of type `annotation`, `> 0, <= 1`; empty if it has none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(loc[0]) if loc else None
        return _range_at(field.annotation, loc[1:], field.metadata) if field else ""
    found = [(sign, _bound(one, key)) for one in metadata for key, sign in _BOUNDS.items()]
    if bounds := [f"{sign} {value:g}" for sign, value in found if value is not None]:
        return ", ".join(bounds)
    inside = getattr(annotation, "__metadata__", ())
    options = (_range_at(option, loc, inside) for option in get_args(annotation) if option is not type(None))
    return next((bounds for bounds in options if bounds), "")


def _bound(constraint: Any, key: str) -> float | None:
    """A bound that a constraint states: one of annotated_types, or pydantic's `Field`, which holds some."""
    if hasattr(constraint, "metadata"):
        return next((value for one in constraint.metadata if (value := getattr(one, key, None)) is not None), None)
    return getattr(constraint, key, None)


def _words_at(annotation: Any, loc: Sequence[str]) -> list[str]:
    """The keys that are valid at `loc` inside a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return list(annotation.model_fields)
        known = annotation.model_fields.get(loc[0])
        # A name that is no field is the tag of a union ("step", "two-class"), which pydantic puts into its paths.
        return _words_at(known.annotation if known else annotation, loc[1:])
    if get_origin(annotation) in (dict, list):
        return _words_at(get_args(annotation)[-1], loc[1:])
    return [word for option in get_args(annotation) for word in _words_at(option, loc)]
