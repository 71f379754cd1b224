"""`reweigh train RUN --set options.KEY=VALUE --as NAME`: a method with other values, as an entry of the config.

The entry is a file of its own, `config/papers/PAPER/methods/NAME.yaml`: `like` the method, with the values changed. So
its runs are explained, audited and trained again like all others, and no record that is there changes.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reweigh import canonical_json, strict_yaml
from reweigh.config.files import PAPERS
from reweigh.config.grid import RUN_OR_CELL, Config
from reweigh.config.loading import load
from reweigh.config.models import OURS
from reweigh.config.names import CellName, NotAName, RunName
from reweigh.config.resolve import laid_over
from reweigh.config.specs import Training
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError, ReweighError
from reweigh.planning.new import check_name

BLOCKS = {"options": "method_options", "training": "training"}  # of a method's entry -> of a spec
SOURCE = "ours: --set"


class Made(NamedTuple):
    """The file of the entry, whether it was written now, and the runs or cells to train."""

    file: str
    written: bool
    runs: list[str]


def write(names: Sequence[str], changes: Sequence[str], name: str, root: Path) -> Made:
    """Write the entry of a method with other values, unless it is there already.

    `names` are runs or cells of one method of one paper; `changes` are `options.KEY=VALUE` or `training.KEY=VALUE`,
    where KEY may be `loss.gamma`. Raises ConfigError, and leaves the config as it was, for a key or value that cannot
    be, for a name that is taken, and where the experiment says something of the method alone, which its entry lacks.
    """
    config = load(root)
    runs = [_run(config, one) for one in names]
    paper, method = _one_of({(run.paper, run.method) for run in runs})
    check_name("method", name)
    said = _changed(config, runs[0], changes)
    entry = _entry(config, paper, method, said, list(dict.fromkeys(run.experiment for run in runs)))
    file = f"{PAPERS}/{paper}/methods/{name}.yaml"
    path, before = root / file, None
    if path.is_file():
        before = path.read_bytes()
        entry["joins"] = _joined(path, file, name, entry)
    elif name in config.paper(paper).methods:
        raise ConfigError(f"{config.place(paper, 'methods', name)}: {paper} has a method {name}; choose another name")
    text = _text(name, entry, [*names, *(f"--set {change}" for change in changes), f"--as {name}"])
    meant = [str(run._replace(method=name)) for run in runs]
    asked = [_renamed(one, name) for one in names]
    if before is not None and yaml.safe_load(before) == yaml.safe_load(text):
        return Made(file, False, asked)
    new = not path.parent.is_dir()
    try:
        canonical_json.write(path, text.encode())
        _check_same_but_for(load(root), dict(zip(map(str, runs), meant, strict=True)), said, file)
    except BaseException as error:  # Ctrl-C too: half an entry, or one that was not checked, would stay in use
        _restore(path, before, new)
        if isinstance(error, ReweighError):
            raise ConfigError(f"{error}; nothing was written") from None
        raise
    return Made(file, True, asked)


def _run(config: Config, name: str) -> RunName:
    """A run by its name; of a cell the first."""
    try:
        return config.run_name(str(CellName.parse(name).run(0)))
    except NotAName:
        pass
    try:
        return config.run_name(str(RunName.parse(name)))
    except NotAName:
        raise NotAName(f"{name!r} is not the name of a run or a cell; write {RUN_OR_CELL}") from None


def _renamed(name: str, method: str) -> str:
    try:
        return str(CellName.parse(name)._replace(method=method))
    except NotAName:
        return str(RunName.parse(name)._replace(method=method))


def _one_of(methods: set[tuple[str, str]]) -> tuple[str, str]:
    if len(methods) > 1:
        named = ", ".join(sorted("/".join(one) for one in methods))
        raise ConfigError(f"--as names one method; the runs are of {named}")
    return next(iter(methods))


def _changed(config: Config, run: RunName, changes: Sequence[str]) -> dict[str, Any]:
    """What --set says, as a tree: {"options": {"outer_every": 20}}. Raises ConfigError for a key that is not there."""
    spec, said = config.resolve(str(run)), dict[str, Any]()
    for change in changes:
        key, equals, text = change.partition("=")
        block, *path = key.split(".")
        if not equals or not path:
            raise ConfigError(f"--set {change}: write options.KEY=VALUE or training.KEY=VALUE")
        lookup("block", block, BLOCKS, f"--set {key}")
        known: Any = spec[BLOCKS[block]] | (dict.fromkeys(Training.model_fields) if block == "training" else {})
        for place, part in enumerate(path):
            where = ".".join([block, *path[:place]])
            if not isinstance(known, dict):
                raise ConfigError(f"--set {key}: {where} of {run.method} is {known!r}, which has no parts")
            lookup(f"key of {where}", part, known, f"--set {key}")
            known = known[part]
        said = laid_over(said, _tree([block, *path], _value(change, text)))
    return said


def _value(change: str, text: str) -> Any:
    """A value as the config writes it: 20, 0.5, 1e-3, true, null, {name: focal, gamma: 2.0}."""
    try:
        return strict_yaml.read(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {change}: {strict_yaml.cause(error, text)}; write it as in the config") from None


def _tree(path: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {first: _tree(rest, value) if rest else value}


def _entry(config: Config, paper: str, method: str, said: Mapping[str, Any], experiments: list[str]) -> dict[str, Any]:
    """The entry, with a source for each value."""
    base = config.paper(paper).methods[method]
    words = ", ".join(f"{'.'.join(path)} = {_short(value)}" for path, value in _leaves(said))
    return {
        "like": method,
        "title": f"{base.title.removesuffix(OURS)}, {words}",
        "joins": experiments,
        "about": f"{method} with {words}",
        **{block: _sourced(values) for block, values in said.items()},
    }


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _leaves(said: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The values that are said, by their path without the block."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in said.items():
        inner = (*path, key) if path or key not in BLOCKS else ()
        found += _leaves(value, inner) if isinstance(value, dict) and "name" not in value else [(inner, value)]
    return found


def _sourced(values: Any) -> Any:
    if isinstance(values, dict) and "name" not in values:
        return {key: _sourced(value) for key, value in values.items()}
    return {"value": values, "source": SOURCE}


def _joined(path: Path, file: str, name: str, entry: Mapping[str, Any]) -> list[str]:
    """The experiments that an entry joins that is there already. Raises ConfigError if it is another one."""
    try:
        there = yaml.safe_load(path.read_bytes())["methods"][name]
        same = {**there, "joins": None} == {**entry, "joins": None}
        joins: list[str] = there["joins"]
    except (yaml.YAMLError, LookupError, TypeError):
        same, joins = False, []
    if not same:
        raise ConfigError(f"{file} says something else of {name}; choose another name")
    return list(dict.fromkeys([*joins, *entry["joins"]]))


def _text(name: str, entry: Mapping[str, Any], words: Sequence[str]) -> str:
    lines = [f"# Written by: reweigh train {' '.join(words)}", "", "methods:", f"  {name}:"]
    for key, value in entry.items():
        lines.append(f"    {key}: {_short(value)}")
    return "\n".join(lines) + "\n"


def _check_same_but_for(config: Config, runs: Mapping[str, str], said: Mapping[str, Any], file: str) -> None:
    """The runs under both names differ in the name of the method and in what was said, and in nothing else."""
    for base, made in runs.items():
        meant = config.resolve(base)
        for block, values in said.items():
            meant = laid_over(meant, {BLOCKS[block]: values})
        found = config.resolve(made)
        if other := [key for key in meant if key != "method" and meant[key] != found[key]]:
            raise ConfigError(
                f"{file}: beside what was set, {made} has another {', '.join(other)} than {base}: a layer above says "
                "something of that method alone, or replaces the value; write such a method by hand"
            )


def _restore(path: Path, before: bytes | None, new: bool) -> None:
    """Put back what stood at `path`; `new`: its folder was made for it."""
    if before is not None:
        canonical_json.write(path, before)
        return
    path.unlink(missing_ok=True)
    if new:
        with contextlib.suppress(OSError):  # it was not made, or somebody else has put something there
            path.parent.rmdir()
