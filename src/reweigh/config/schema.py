"""The JSON schema of the files below config/, for editors, made from the models of `reweigh.config`.

A file of a paper holds a part of it, and a block may be `like` another, so nothing is required there; the loader asks
for what is missing when all files have been read.
"""

import json
from typing import Any

from pydantic import TypeAdapter

from reweigh.config.local import Template
from reweigh.config.models import Paper
from reweigh.config.priorities import Priorities
from reweigh.config.project import ProjectConfig

NOTATION = {
    "WithField": {
        "type": "string",
        "description": "With a field of a grid around it.",
        "pattern": r"\{\w+(\[\w+\])?\}",
    },
    "Like": {"type": "object", "properties": {"like": {"$ref": "#/$defs/Parent"}}, "required": ["like"]},
    "Parent": {"type": "string", "description": "The block over which this one is laid, key by key."},
    "Grid": {
        "type": "object",
        "description": "One entry for each combination: a list of values for each name in {}.",
        "additionalProperties": {"type": "array"},
    },
}
BLOCKS = {"type": "object", "description": "Blocks that others may be like."}


def text() -> str:
    """The schema as it lies in config/schema.json: one file for all kinds of config."""
    definitions = TypeAdapter(Paper | ProjectConfig | Priorities | Template).json_schema()["$defs"]
    own = definitions.pop("Template")["properties"]
    whole = {name: definitions.pop(name) for name in ("ProjectConfig", "Priorities", "Priority", "Rule", "Seeds")}
    scales = definitions["Experiment"]["properties"]["scales"]
    scales["additionalProperties"] = {
        "anyOf": [scales["additionalProperties"], {"type": "null"}]
    }  # null: not at this scale
    paper = _as_written(definitions.pop("Paper"))
    del paper["properties"]["like"], paper["properties"]["grid"]
    paper["properties"]["blocks"] = BLOCKS
    files = {
        "PaperFile": {**paper, "title": "A file of a paper"},
        "ProjectConfig": whole.pop("ProjectConfig"),
        "Priorities": whole.pop("Priorities"),
        "LocalFile": {
            "title": "config/local.yaml",
            "type": "object",
            "properties": {
                **{key: {"$ref": f"#/$defs/PaperFile/properties/{key}"} for key in paper["properties"]},
                **own,
            },
            "additionalProperties": False,
        },
        "SharedFile": {
            "title": "What papers share",
            "type": "object",
            "properties": {
                "methods": paper["properties"]["methods"],
                "protocols": paper["properties"]["experiments"],
                "blocks": BLOCKS,
            },
            "additionalProperties": False,
        },
    }
    written = {name: _as_written(one) for name, one in definitions.items()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "reweigh config",
        "anyOf": _refs(*files),
        "$defs": dict(sorted({**written, **whole, **files, **NOTATION}.items())),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _refs(*names: str) -> list[dict[str, Any]]:
    return [{"$ref": f"#/$defs/{name}"} for name in names]


def _as_written(definition: dict[str, Any]) -> dict[str, Any]:
    """A model's schema as files have it: values with sources, `like` and `grid`, and so nothing required."""
    if "properties" not in definition:
        return definition
    properties = {key: _value(one) for key, one in definition["properties"].items()}
    kept = {key: value for key, value in definition.items() if key != "required"}
    return {**kept, "properties": {**properties, **dict(zip(("like", "grid"), _refs("Parent", "Grid"), strict=True))}}


def _value(plain: dict[str, Any]) -> dict[str, Any]:
    """A value: bare, with its source, with the field of a grid, or like a block."""
    if isinstance(plain.get("additionalProperties"), dict):
        plain = {**plain, "additionalProperties": _value(plain["additionalProperties"])}
        plain.pop("propertyNames", None)  # a name may have the field of a grid
    plain = _items(plain)
    about: dict[str, Any] = {key: plain[key] for key in ("title", "default") if key in plain}
    bare = {key: value for key, value in plain.items() if key not in about}
    sourced = {
        "type": "object",
        "properties": {"value": bare, "source": {"type": "string"}},
        "required": ["value", "source"],
        "additionalProperties": False,
    }
    return {**about, "anyOf": [bare, sourced, *_refs("WithField", "Like")]}


def _items(plain: dict[str, Any]) -> dict[str, Any]:
    """The same with lists whose items may have the field of a grid, as in `worse: ["{rival}"]`."""
    plain = {**plain, **({"anyOf": [_items(one) for one in plain["anyOf"]]} if "anyOf" in plain else {})}
    if not isinstance(plain.get("items"), dict):
        return plain
    return {**plain, "items": {"anyOf": [_items(plain["items"]), *_refs("WithField")]}}
