"""The JSON schemas of the config and of records, as the models make them, beside the files that state them."""

from pathlib import Path

from reweigh.config import schema as config_schema
from reweigh.errors import ConfigError
from reweigh.provenance import record_schema


def main(records: bool, check: bool) -> None:
    """The command `reweigh schema`: print the schema of the config or, with `records`, that of records.

    With `check`, compare it with the file in config/ instead. Raises ConfigError if they differ.
    """
    schema = record_schema.text() if records else config_schema.text()
    path, option = ("config/record.schema.json", " --records") if records else ("config/schema.json", "")
    if not check:
        print(schema, end="")
    elif not Path(path).is_file():
        raise ConfigError(
            f"no {path} here; run this in the project's folder, or write it: reweigh schema{option} > {path}"
        )
    elif Path(path).read_text(encoding="utf-8") != schema:
        raise ConfigError(f"{path} does not match the models; write it again: reweigh schema{option} > {path}")
