"""config/costs.yaml: what a step of each model is assumed to cost where nothing was measured."""

import functools
from pathlib import Path
from typing import Annotated

from pydantic import Field

from reweigh.config import files
from reweigh.config.lookup import lookup
from reweigh.config.modules import modules
from reweigh.config.specs import Frozen
from reweigh.config.validation import validated
from reweigh.errors import ConfigError

COSTS = "config/costs.yaml"
DEFAULT = "default"  # of a model that has no time of its own
Milliseconds = Annotated[float, Field(gt=0, le=1e9, strict=True)]


class Costs(Frozen):
    """config/costs.yaml."""

    milliseconds: dict[str, Milliseconds]

    def of(self, model: str) -> float:
        """Milliseconds of a step of a model, on one core, with a batch of 50 and full width."""
        return self.milliseconds.get(model, self.milliseconds[DEFAULT])


def assumed(root: Path) -> Costs:
    """What the file of the project says. Raises ConfigError where it is missing or says what cannot be."""
    path = root / COSTS
    if not path.is_file():
        raise ConfigError(f"no {COSTS} in {root}; it says what a step of a model is assumed to cost")
    node = files.read(path, COSTS)
    places = files.places(node)
    costs = validated(Costs, files.plain(node), functools.partial(files.nearest, places))
    for model in costs.milliseconds:
        if model != DEFAULT:
            lookup("model", model, modules("models", "build"), str(places["milliseconds", model]))
    if DEFAULT not in costs.milliseconds:
        raise ConfigError(
            f"{files.nearest(places, ['milliseconds'])}: milliseconds has no {DEFAULT!r}, for models that it leaves out"
        )
    return costs
