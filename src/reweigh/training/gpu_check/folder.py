"""What came with the specs: which of them can be read, what home expects of their splits, what to check with.

A folder that was sent may have arrived in part. What is missing or cut is named, and the rest is used. Nothing here
imports torch.
"""

import functools
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.names import RunName
from reweigh.errors import ConfigError, ReweighError
from reweigh.training import spec_check
from reweigh.training.__main__ import NOT_SPECS, ORDER, spec_paths

EXPECTED = NOT_SPECS[0]  # {file of a spec: {"run", "split_digest", "recipe_digest"}}, beside the specs
SEND_AGAIN = "send it again, or write it at home with: reweigh pack DIR"
Specs = dict[Path, dict[str, Any]]


def listed(folder: Path) -> list[Path]:
    """The files of the specs that a folder should have, in its order. Raises ConfigError if that cannot be told."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; write specs to it with: reweigh plan TARGET --specs {folder}")
    try:
        paths = spec_paths([str(folder)])
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / ORDER}: cannot be read ({error}); send it again") from None
    if not paths and not (folder / ORDER).is_file():
        raise ConfigError(f"{folder}: no specs; write them with: reweigh plan TARGET --specs {folder}")
    return paths


def specs_of(folder: Path | None) -> tuple[Specs, dict[Path, str]]:
    """The specs of a folder by their files, in its order; and why others cannot be read, by theirs."""
    specs: Specs = {}
    damaged: dict[Path, str] = {}
    for path in [] if folder is None else listed(folder):
        try:
            specs[path] = _whole(spec_check.read(path), path)
        except ReweighError as error:
            damaged[path] = str(error)
        except OSError as error:
            damaged[path] = f"{path}: cannot be read ({error.strerror or error})"
    return specs, damaged


def _whole(spec: dict[str, Any], path: Path) -> dict[str, Any]:
    """The spec, if it has the keys by which runs are told apart. Raises ConfigError if not."""
    try:
        RunName.of_spec(spec)
        kind_of(spec)
        experiment_of(spec)
        spec["seed"], spec["training"]["precision"]
    except (LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a whole spec ({error}); send it again") from None
    return spec


def experiment_of(spec: dict[str, Any]) -> str:
    """The experiment of a spec, with scale and paper."""
    return f"{spec['scale']}/{spec['paper']}/{spec['experiment']}"


def kind_of(spec: dict[str, Any]) -> dict[str, Any]:
    """As much of a spec as decides which code it runs."""
    loss = spec["method_options"].get("loss")
    return {
        "uses": spec["uses"],
        "method_options": {"loss": loss and {"name": loss["name"]}},
        "model": {"name": spec["model"]["name"]},
        "data": {"dataset": spec["data"]["dataset"]},
    }


def expected(folder: Path) -> dict[str, Any]:
    """What home expects of the splits, by the file of the spec. Raises ConfigError if that did not arrive whole."""
    path = folder / EXPECTED
    try:
        return canonical_json.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"{path}: cannot be read ({why}); {SEND_AGAIN}") from None


@functools.cache
def cases(path: str | None) -> dict[str, Any]:
    """The content of a case file. Raises ConfigError if there is none, or it did not arrive whole."""
    if path is None or not Path(path).is_file():
        raise ConfigError(f"{path or 'no case file'}: what to check with is written at home by: reweigh pack DIR")
    try:
        body = canonical_json.parse(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); {SEND_AGAIN}") from None
    if not {"nets", "methods", "code"} <= {*body}:
        raise ConfigError(f"{path}: not a case file; {SEND_AGAIN}")
    return body
