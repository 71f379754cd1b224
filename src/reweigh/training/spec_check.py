"""Specs from elsewhere: is this one, complete, with values that can be, naming code that is here?

`python -m reweigh.training` takes whatever lies in a file, on machines without pydantic. So the shape of a spec is read
from a JSON schema that the models of the config make (`config/spec_schema.py`); what goes together, from the rules that
they hold to (`config/spec_rules.py`). Where there is pydantic, a method's options are checked by its card as well;
elsewhere they are only of bounded size.
"""

import ast
import functools
import importlib.util
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reweigh import canonical_json, plugins
from reweigh.config import spec_rules
from reweigh.config.broken import fault
from reweigh.config.lookup import lookup, suggestion
from reweigh.config.modules import check_modules
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.listing import visible
from reweigh.terminal import printable

SCHEMA = Path(__file__).with_name("spec.schema.json")
WRITE = "write specs with: reweigh plan --specs DIR"
MOST_BYTES = 2**22  # of a file; a spec has a few thousand
DEPTH, LONGEST, WIDEST = 12, 100_000, 2**63  # of options: levels, values in one, whole numbers
TAGS = ("kind", "name")  # the keys that say which of several shapes a block has
TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "object": ("a block of keys", (dict,)),
    "array": ("a list", (list,)),
    "string": ("a text", (str,)),
    "boolean": ("true or false", (bool,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "null": ("null", (type(None),)),
}


def read(path: str | Path) -> dict[str, Any]:
    """A resolved spec from its JSON file. Raises ConfigError, a line that names the file, for whatever else it is."""
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        spec = canonical_json.parse(content)
    except FileNotFoundError:
        raise ConfigError(f"{shown}: no such spec; {WRITE}") from None
    except ValueError as error:
        raise ConfigError(f"{shown}: not JSON of a spec ({printable(str(error))}); {WRITE}") from None
    if type(spec.get("spec_version")) is not int or spec["spec_version"] != 1:
        raise ConfigError(f"{shown}: not a spec of version 1; {WRITE}")
    check(spec, shown)
    return spec


def read_all(paths: list[Path]) -> list[dict[str, Any]]:
    """The specs in several files. Raises ConfigError if one is none, of all such a line on stderr but for the last."""
    specs, wrong = [], []
    for path in paths:
        try:
            specs.append(read(path))
        except ConfigError as error:
            wrong.append(error)
    for one in wrong[:-1]:
        print(f"reweigh: {one}", file=sys.stderr)
    if wrong:
        raise wrong[-1]
    return specs


def check(spec: dict[str, Any], where: str) -> None:
    """Raise ConfigError, in a line that begins with `where`, for a spec that cannot be trained as it stands."""
    try:
        check_shape(spec)
    except ConfigError as error:
        raise ConfigError(f"{where}: {printable(str(error))}; {WRITE}") from None
    check_modules(spec, where)
    _names_code(spec, where)
    if importlib.util.find_spec("pydantic"):
        from reweigh.config.cards import check_options

        check_options(spec["uses"], spec["method_options"], f"{where}: method_options")


def check_shape(spec: dict[str, Any]) -> None:
    """Raise ConfigError for a spec that is not what the config would make: keys, types, ranges, what goes together."""
    _fits({"$ref": "#/$defs/Spec"}, spec, "")
    options = {"data.options": spec["data"]["options"], "model.options": spec["model"]["options"]}
    for place, block in {**options, "method_options": spec["method_options"]}.items():
        _is_bounded(block, place)
    spec_rules.check(spec)


# --- shape -----------------------------------------------------------------------------------------------------------


@functools.cache
def _definitions() -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    return definitions


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return _definitions()[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema


def _fits(schema: dict[str, Any], value: Any, where: str) -> None:
    """Raise ConfigError if a value does not fit a schema. It knows the words that `spec.schema.json` uses."""
    schema = _resolved(schema)
    if options := schema.get("oneOf") or schema.get("anyOf"):
        _fits(_option(options, value, where), value, where)
        return
    _is_a(schema["type"], value, where)
    if "const" in schema and value != schema["const"]:
        raise ConfigError(f"{where}: must be {json.dumps(schema['const'])}, is {_said(value)}")
    if "enum" in schema and value not in schema["enum"]:
        raise ConfigError(f"{where}: {_said(value)} is unknown{suggestion(value, schema['enum'])}")
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        raise ConfigError(f"{where}: {_said(value)} is no name; one has a-z, 0-9, '_', '.', '-', and no '.' in front")
    if isinstance(value, dict):
        _has_keys(schema, value, where)
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", LONGEST):
            raise ConfigError(f"{where}: a list of {len(value)} values, which is too few or too many")
        for number, one in enumerate(value):
            _fits(schema["items"], one, f"{where}.{number}")
    elif not isinstance(value, str | None):
        _is_within(schema, value, where)


def _option(options: list[dict[str, Any]], value: Any, where: str) -> dict[str, Any]:
    """The one of several schemas that a value is meant for, by its type and, of blocks, by the key that says so."""
    those = [one for one in map(_resolved, options) if isinstance(value, TYPES[one["type"]][1])]
    those = [one for one in those if not isinstance(value, bool) or one["type"] == "boolean"]
    if not those:
        kinds = " or ".join(dict.fromkeys(TYPES[_resolved(one)["type"]][0] for one in options))
        raise ConfigError(f"{where}: must be {kinds}, is {_said(value)}")
    tag = next((tag for tag in TAGS if tag in those[0].get("properties", {})), None)
    if len(those) == 1 or tag is None:
        return those[0]
    named = {name: one for one in those for name in _names(one["properties"][tag])}
    if tag not in value:
        raise ConfigError(f"{where}: {tag!r} is missing")
    if not isinstance(value[tag], str) or value[tag] not in named:
        raise ConfigError(f"{where}.{tag}: {_said(value[tag])} is unknown{suggestion(str(value[tag]), named)}")
    return named[value[tag]]


def _names(schema: dict[str, Any]) -> list[str]:
    return [schema["const"]] if "const" in schema else schema["enum"]


def _is_a(kind: str, value: Any, where: str) -> None:
    said, types = TYPES[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
        raise ConfigError(f"{where or 'a spec'}: must be {said}, is {_said(value)}")


def _has_keys(schema: dict[str, Any], block: dict[str, Any], where: str) -> None:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    prefix = f"{where}." if where else ""
    for key in block:
        if more is False and key not in known:
            raise ConfigError(f"unknown key {_said(prefix + key)}{suggestion(key, known)}")
    for key in schema.get("required", ()):
        if key not in block:
            raise ConfigError(f"{prefix + key!r} is missing")
    for key, value in block.items():
        shape = known.get(key, more)
        if isinstance(shape, dict):
            _fits(shape, value, prefix + key)


def _is_within(schema: dict[str, Any], number: float, where: str) -> None:
    """Raise ConfigError for a number out of its range, infinite (as 1e999 is), or a float of more than 2**63."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    bounds = {">=": low, ">": above, "<=": high, "<": below}
    right = (
        (low is None or number >= low)
        and (above is None or number > above)
        and (high is None or number <= high)
        and (below is None or number < below)
        and (
            math.isfinite(number) if isinstance(number, float) else schema["type"] == "integer" or abs(number) < WIDEST
        )
    )
    if not right:
        valid = ", ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)
        raise ConfigError(f"{where}: is {_said(number)} (valid: {valid or 'what is finite'})")


def _is_bounded(value: Any, where: str, depth: int = DEPTH) -> None:
    """Raise ConfigError for options that are nested too deeply, too long, or have numbers that no float can hold."""
    if isinstance(value, dict | list):
        if not depth or len(value) > LONGEST:
            raise ConfigError(f"{where}: is nested too deeply, or too long")
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            _is_bounded(one, f"{where}.{key}", depth - 1)
    elif isinstance(value, int | float) and not abs(value) < (WIDEST if isinstance(value, int) else math.inf):
        raise ConfigError(f"{where}: {_said(value)} is too large")


def _said(value: Any) -> str:
    """A value in a few letters."""
    text = json.dumps(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- code ------------------------------------------------------------------------------------------------------------


def _names_code(spec: dict[str, Any], where: str) -> None:
    """Method and loss must be modules that have one, here or in another distribution."""
    loss = spec["method_options"].get("loss")
    if loss is not None and not (isinstance(loss, dict) and isinstance(loss.get("name"), str) and loss["name"]):
        raise ConfigError(f"{where}: method_options.loss: must be a block with a name, or null")
    for kind, name in (("methods", str(spec["uses"])), ("losses", str(loss["name"]) if loss else "")):
        if name and name not in plugins.named(kind) and not _has(kind, name, where):
            what, defined = plugins.KINDS[kind].lower(), PACKAGE / kind
            lookup(what, name, [*(path.stem for path in visible(defined, "[a-z]*.py")), *plugins.named(kind)], where)
            raise ConfigError(f"{where}: {name!r} is no {what} but what several share")


def _has(kind: str, name: str, where: str) -> bool:
    """Whether a method or loss of that name is here. Its module is read, not imported; a fault of it is said."""
    path = PACKAGE / kind / f"{name}.py"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name, re.ASCII) or name == "base" or not path.is_file():
        return False
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (ValueError, SyntaxError) as error:
        raise ConfigError(f"{where}: {fault(error, path)}") from None
    return any(isinstance(node, ast.ClassDef) and node.name == plugins.KINDS[kind] for node in body)
