"""When two runs are the same training: what of a spec decides the result, and what only names, measures or keeps it."""

from collections.abc import Mapping
from typing import Any

NAMES = ("scale", "paper", "experiment", "setting", "method")  # the keys of a spec that decide nothing
AT_THE_END = ("keep_features", "keep_margins")  # options of the training block: arrays made of the finished model


def decisive(spec: Mapping[str, Any], stages: int | None = None) -> dict[str, Any]:
    """What of a spec decides the state after its first `stages` stages; None: its whole record."""
    decides = {part: value for part, value in spec.items() if part not in NAMES}
    if stages is not None:
        options = decides["training"].items()
        decides["training"] = {name: value for name, value in options if name not in AT_THE_END}
    return decides


def with_prefix(spec: Mapping[str, Any], uses: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a run's first stages, which are those of another method with other options."""
    return {**spec, "uses": uses, "method_options": dict(options)}
