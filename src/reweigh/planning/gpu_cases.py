"""What `reweigh gpu-check` checks with: a spec of every net, and every method with the options of its card.

A machine that only trains has neither the config nor pydantic, so this travels as a file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh.config import cards
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.planning.plan import everything
from reweigh.records import record
from reweigh.training.gpu_check.folder import kind_of

SCALE = "paper"
NOT_HERE = ("torchvision_resnet",)  # a net of images on disk, which made-up data do not stand in for


def cases(root: str | Path = ".", trained: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """The content of a case file: `{"nets": {name: spec}, "methods": [{"name", "uses", ...}], "code": [...]}`.

    It states the code of these runs, and of those that are `trained` there.
    """
    specs = _specs(load(root))
    nets: dict[str, Any] = {}
    for spec in specs:
        nets.setdefault(spec["model"]["name"], spec)
    return {
        "nets": {name: nets[name] for name in sorted(nets) if name not in NOT_HERE},
        "methods": methods(),
        "code": [
            {"spec": kind_of(spec), "digest": record.code_digest(spec)} for spec in _of_each_kind([*specs, *trained])
        ],
    }


def _specs(config: Config) -> list[dict[str, Any]]:
    """The specs of the configured papers."""
    runs = everything(config, SCALE)
    if not runs:
        raise ConfigError("config.yaml names no paper with runs, so there is nothing to check a GPU with")
    return [config.resolve(run) for run in runs]


def methods() -> list[dict[str, Any]]:
    """Every method with each example of its card, named after its module and the example's number."""
    return [
        {
            "name": module if number == 0 else f"{module}-{number + 1}",
            "uses": module,
            "options": options,
            "layout": card.layout(options),
        }
        for module, card in cards.methods().items()
        for number, options in enumerate(card.examples)
    ]


def _of_each_kind(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One spec of each kind."""
    return list({str(kind_of(spec)): spec for spec in specs}.values())
