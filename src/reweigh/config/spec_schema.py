"""The shape of a resolved spec as a JSON schema, for what trains without pydantic (`training/spec_check.py`).

    python -m reweigh.config.spec_schema > src/reweigh/training/spec.schema.json

A spec is complete: unlike in a config no default is filled in. So every key is required, but those that are `newer`
than the first records, which are not null where they are there.
"""

import json
from typing import Any

from reweigh.config import specs
from reweigh.config.specs import LARGEST, Frozen, Spec

SAID = ("title", "description", "default", "discriminator")  # what decides nothing
NUMBER = {"type": "number", "minimum": 1, "maximum": LARGEST}  # a ratio: a config may write it as a fraction


def text() -> str:
    """The schema as it lies beside what reads it."""
    schema = Spec.model_json_schema()
    definitions = {**schema.pop("$defs"), "Spec": schema}
    whole = {name: _complete(getattr(specs, name), one) for name, one in sorted(definitions.items())}
    return json.dumps({"$ref": "#/$defs/Spec", "$defs": whole}, indent=1, sort_keys=True) + "\n"


def _complete(model: type[Frozen], definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of a model with all that a dump of it has."""
    properties = definition["properties"]
    for name in model.newer:
        options = [one for one in properties[name]["anyOf"] if one != {"type": "null"}]
        properties[name] = options[0] if len(options) == 1 else {"anyOf": options}
    required = sorted(properties.keys() - model.newer)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {name: _plain(one) for name, one in properties.items()},
    }


def _plain(schema: Any) -> Any:
    """The same without titles, descriptions and defaults, and with a ratio as the number that it is by now."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("anyOf") == specs.RATIO["anyOf"]:
        return NUMBER
    return {key: _plain(value) for key, value in schema.items() if key not in SAID}


if __name__ == "__main__":
    print(text(), end="")
