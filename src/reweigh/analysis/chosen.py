"""What the rules of tuning chose, as blocks of config: `chosen-EXPERIMENT-SETTING` for each setting that uses one.

    by_method: { like: chosen-mnist-lt100 }  # in the setting, whatever is chosen, and before anything is

`reweigh tune PAPER --write` puts them into `config/papers/PAPER/experiments/chosen.yaml`. A value that a method has
without the block is left out of it: what changes no run is refused there. Blocks do not depend on those that the config
has at present, so that the file is the same however often it is written.
"""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from reweigh import canonical_json
from reweigh.analysis import tuning
from reweigh.analysis.tuning import Choice
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.models import Tuned
from reweigh.config.names import CellName
from reweigh.config.resolve import laid_over, layers
from reweigh.errors import ConfigError

FILE = "config/papers/{paper}/experiments/chosen.yaml"
WIDTH = 110  # of a line, about: the writer ends a word first
HEAD = """\
# What the tuning runs chose, by the rules in ../tuning.yaml: written by `reweigh tune {paper} --write`, not by hand.
# A method that is not named at a setting has the values that it has without a choice, or that are chosen.

"""
Block = dict[str, Any]


def blocks(config: Config, paper: str, scale: str = "paper") -> dict[str, Block]:
    """What is chosen at each setting that any rule is used by, by the block's name; empty where nothing is yet.

    Raises ConfigError if two rules choose the same option of a method at a setting.
    """
    found: dict[str, Block] = {}
    taken: dict[tuple[CellName, str], str] = {}
    for choice in tuning.choices(config, paper, scale):
        rule = config.paper(paper).tuned[choice.rule]
        for cell in _users(config, paper, rule):
            block = found.setdefault(f"chosen-{cell.experiment}-{cell.setting}", {})
            for path, value in choice.taken.items():
                other = taken.setdefault((cell, path), choice.rule)
                if other != choice.rule:
                    raise ConfigError(f"{paper}: {other} and {choice.rule} both choose {path} of {cell.method}")
                if tuning.option_of(_without(config, cell), path) != value:
                    _put(block.setdefault(cell.method, {}), path, value, choice)
    return found


def _users(config: Config, paper: str, rule: Tuned) -> list[CellName]:
    return [
        CellName("paper", paper, use.experiment, setting, method)
        for use in rule.used_by
        for setting in use.settings or config.experiment(paper, use.experiment).settings
        for method in use.methods
    ]


def _without(config: Config, cell: CellName) -> dict[str, Any]:
    """The options of a cell, and its training block, without what its setting says of the method."""
    place = ("experiments", cell.experiment, "settings", cell.setting, "by_method", cell.method)
    spec: dict[str, Any] = {}
    for layer in layers(config.paper(cell.paper), cell.run(0)):
        if layer.where != place:
            spec = laid_over(spec, layer.says)
    return {"training": spec["training"], **spec["method_options"]}


def _put(block: Block, path: str, value: Any, choice: Choice) -> None:
    """Write a value with its source to the place of its path: options, or the training block."""
    *parents, last = path.split(".") if path.startswith("training.") else ["options", *path.split(".")]
    for name in parents:
        block = block.setdefault(name, {})
    block[last] = {"value": value, "source": f"chosen by {choice.rule}"}


def text(found: dict[str, Block], paper: str) -> str:
    """The file that has these blocks: a method a line, or a few where it is long."""
    lines = ["blocks:"]
    for name, methods in found.items():
        lines.append(f"  {name}:" if methods else f"  {name}: {{}}")
        for method, says in methods.items():
            begin = f"    {method}: "
            body = yaml.safe_dump(
                says, sort_keys=False, allow_unicode=True, default_flow_style=True, width=WIDTH - len(begin)
            )
            lines.append(begin + textwrap.indent(body.rstrip(), " " * 6).lstrip())
    return HEAD.format(paper=paper) + "\n".join(lines) + "\n"


def main(paper: str, scale: str, write: bool = False) -> str:
    """The command `reweigh tune PAPER --blocks`, with `--write` into its file. The text, or the path that was written.

    Rules that choose nothing yet leave their methods as they are. Raises ConfigError for a paper without rules.
    """
    config = load()
    if not config.paper(paper).tuned:
        raise ConfigError(f"config/papers/{paper} has no rules of tuning (`tuned`)")
    content = text(blocks(config, paper, scale), paper)
    if not write:
        return content
    path = Path(FILE.format(paper=paper))
    canonical_json.write(config.root / path, content)
    return str(path)
