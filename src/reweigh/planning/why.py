"""Why a run is as it is: every value of its resolved spec, with the file and line where it stands, and its source."""

from pathlib import Path
from typing import Any, NamedTuple

from reweigh import terminal
from reweigh.config.grid import Config, Origin
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.sources import leaves
from reweigh.digest import digest
from reweigh.errors import ConfigError

PARTS = ("data", "model", "uses", "method_options", "training")


class Value(NamedTuple):
    """One value of a spec: its path, what it is, where it stands (empty for a default), and its source."""

    key: str
    value: Any
    place: str
    source: str


def values(config: Config, run: str) -> list[Value]:
    """Every value of a run's spec. Raises ConfigError, with the nearest name, for what is no run."""
    spec, origins = config.resolve(run), config.origins(run)
    found = []
    for path in leaves({part: spec[part] for part in PARTS}):
        origin = _origin(origins, path)
        value: Any = spec
        for key in path:
            value = value[key]
        found.append(
            Value(".".join(path), value, str(origin.place) if origin else "", origin.source if origin else "default")
        )
    return found


def _origin(origins: dict[str, Origin], path: tuple[str, ...]) -> Origin | None:
    """That of the value, or of the block that states it whole; `None` if no file does."""
    return next((origins[key] for end in range(len(path), 0, -1) if (key := ".".join(path[:end])) in origins), None)


def show(targets: list[str], root: str | Path = ".") -> None:
    """Print the values of one run as a table. Raises ConfigError if the targets are not one run."""
    from rich.table import Table

    if len(targets) != 1:
        form = "SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN"
        raise ConfigError(f"--why is about one run, not {len(targets)}; write {form}")
    config = load(root)
    run = str(config.run_name(targets[0].strip("/").removeprefix("results/").removesuffix(".json")))
    config.check_seed(RunName.parse(run))
    table = Table(box=None, pad_edge=False)
    for column in ("key", "value", "stands in", "source"):
        table.add_column(column, overflow="fold")
    name, console = RunName.parse(run), terminal.console(wide=200)
    cut = f"scale {name.scale}: {config.cut(name.scale, name.paper, name.experiment)}"
    for one in values(config, run):
        table.add_row(one.key, _text(one.value), one.place, f"scale {name.scale}" if one.source == cut else one.source)
    console.print(table, highlight=False)
    if name.scale != config.paper(name.paper).whole:
        console.print(f"\n{cut}", highlight=False)
    if reason := config.placeholder(run):
        console.print(f"\na placeholder, which nothing trains: {reason}", highlight=False, soft_wrap=True)
    console.print(f"\nspec {digest(config.resolve(run))}", highlight=False)


def _text(value: Any) -> str:
    """A value as YAML has it.

    >>> _text(None), _text(True), _text({"name": "cosine", "warmup_epochs": 0})
    ('null', 'true', '{name: cosine, warmup_epochs: 0}')
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(_text(one) for one in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
