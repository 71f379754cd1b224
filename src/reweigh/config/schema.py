"""The JSON schema of config.yaml and config/papers/*.yaml, for editors, made from `reweigh.config.models`."""

import json
from typing import Any

from pydantic import TypeAdapter

from reweigh.config.models import Paper, ProjectConfig


def text() -> str:
    """The schema as it lies in config/schema.json: one file for both kinds of config."""
    both = TypeAdapter(Paper | ProjectConfig).json_schema()
    definitions = {name: _sourced(one) for name, one in sorted(both["$defs"].items())}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "reweigh config",
        "oneOf": both["anyOf"],
        "$defs": definitions,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _sourced(definition: dict[str, Any]) -> dict[str, Any]:
    """A model's schema in which each value may also be written as `{value: ..., source: ...}`."""
    if definition.get("title") == "ProjectConfig" or "properties" not in definition:
        return definition
    properties = {key: _with_source(one) for key, one in definition["properties"].items()}
    return {**definition, "properties": properties}


def _with_source(plain: dict[str, Any]) -> dict[str, Any]:
    if "additionalProperties" in plain and isinstance(plain["additionalProperties"], dict):
        plain = {**plain, "additionalProperties": _with_source(plain["additionalProperties"])}
    about: dict[str, Any] = {key: plain[key] for key in ("title", "default") if key in plain}
    bare = {key: value for key, value in plain.items() if key not in about}
    sourced = {
        "type": "object",
        "properties": {"value": bare, "source": {"type": "string"}},
        "required": ["value", "source"],
        "additionalProperties": False,
    }
    return {**about, "anyOf": [bare, sourced]}
