"""The shape of config.yaml: what a call of Snakemake without further words does."""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from reweigh.config.specs import Frozen, Name, Positive, Scale


def _at_once(value: Any) -> Any:
    """How many runs share a device: "auto", or a whole number from 1 on."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("must be auto or a whole number from 1 on")


AtOnce = Annotated[
    Literal["auto"] | int,
    BeforeValidator(_at_once),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]


def _duration(value: Any) -> Any:
    """A duration such as 90s, 9m or 1.5h, as it stands."""
    if isinstance(value, str) and re.fullmatch(_DURATION, value):
        return value
    raise ValueError("must be a duration such as 90s, 9m or 1.5h")


_DURATION = r"^[0-9]+([.][0-9]+)?[smh]$"
Duration = Annotated[str, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": _DURATION})]


def _once(names: list[str]) -> list[str]:
    """Names that stand once each. Those of a file are asked there, with their lines; `--config papers=[a,a]` is not."""
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"{twice[0]!r} stands twice in this list; keep one of them")
    return names


class ProjectConfig(Frozen):
    """config/config.yaml: what a call of Snakemake without further words does."""

    scale: Scale = "quick"
    papers: Annotated[list[Name], Field(min_length=1), AfterValidator(_once)]
    jobs: Literal["auto", "cell", "setting"] = "auto"
    seeds_per_job: Positive = 5
    runs_at_once: AtOnce = "auto"
    time_budget: Duration | None = None
    extensions: bool = False
    missing: Literal["train", "skip"] = "train"
    stale: Literal["train", "keep"] = "train"
    confirm: Literal["tell", "ask"] = "tell"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    mirror: str | None = None

    def apply(self) -> None:
        """Hand on to the processes that are started what they take from their environment: the mirror, no GPU."""
        if self.mirror:
            os.environ.setdefault("REWEIGH_MIRROR", self.mirror)
        if self.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
