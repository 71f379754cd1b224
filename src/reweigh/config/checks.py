"""What a paper must hold beyond its shape: names that exist, a source for every value, sizes that can be had."""

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reweigh.config import references, sizes
from reweigh.config.knobs import KNOBS
from reweigh.config.models import Artifact, Experiment, Paper
from reweigh.config.sources import leaves, source_of
from reweigh.config.validation import lookup, validated
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError

if TYPE_CHECKING:
    from reweigh.config.grid import Config

# Values that decide results and so must say where they come from.
SOURCED = ("split", "scale_inputs", "augment", "dataset_options", "model", "training", "options", "seeds")

# Which values an option of a loss may have, by the type that its constructor names.
KINDS: dict[str, set[type]] = {"float": {int, float}, "int": {int}, "bool": {bool}, "str": {str}, "None": {type(None)}}


def check(config: "Config", paper: str) -> None:
    """Raise ConfigError at the first thing in a paper that cannot be."""
    content = config.papers[paper]
    for name in content.methods:
        _check_method(_where(config, paper, "methods", name), content, name)
    for name, experiment in content.experiments.items():
        _check_experiment(_where(config, paper, "experiments", name), content, experiment)
    for name, artifact in content.artifacts.items():
        _check_artifact(_where(config, paper, "artifacts", name), content, artifact)
    references.check(config, paper)
    _check_sources(config, paper)
    _check_specs(config, paper)


def _where(config: "Config", paper: str, *keys: str) -> str:
    """File, line and path of a key."""
    return f"{config.place(paper, *keys)}: {'.'.join(keys)}"


def _check_method(where: str, paper: Paper, name: str) -> None:
    """A method must exist as a module and state all of the knobs that are known of it, and no others."""
    method = paper.methods[name]
    lookup("module of reweigh.methods", method.uses, sorted(_modules("methods", "Method")), where)
    if knobs := KNOBS.get(method.uses):
        validated(knobs, method.options, f"{where}.options")
        _check_loss(method.options, f"{where}.options.loss")


def _check_loss(options: dict[str, Any], where: str) -> None:
    """A loss that a method's options name must have its file, and be given all that its constructor asks for."""
    if (said := options.get("loss")) is None:
        return
    if "name" not in said:
        raise ConfigError(f"{where}: has no name; known: {', '.join(_losses())}")
    takes = lookup("loss", said["name"], _losses(), where)
    for option, value in said.items():
        if option != "name":
            kind, _ = lookup(f"option of loss {said['name']}", option, takes, where)
            if not any(type(value) in KINDS.get(word, {type(value)}) for word in kind.split(" | ")):
                raise ConfigError(f"{where}.{option}: must be {kind}, is {value!r}")
    for option, (_, required) in takes.items():
        if required and option not in said:
            raise ConfigError(f"{where}: {option!r} of loss {said['name']} is missing")


@functools.cache
def _losses() -> dict[str, dict[str, tuple[str, bool]]]:
    """The losses that there are -> their options: the type, and whether it must be stated. Read, not imported."""
    paths = {path.stem: path for path in sorted((PACKAGE / "losses").glob("[a-z]*.py"))}
    shared = _keywords(paths.pop("base"))
    return {name: _keywords(path) | shared for name, path in paths.items()}


def _keywords(path: Path) -> dict[str, tuple[str, bool]]:
    """What the constructor of a file's class `Loss` takes by keyword alone: name -> (type, has it no default)."""
    defined = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in defined["Loss"].body if isinstance(node, ast.FunctionDef)}
    if "__init__" not in functions:
        return {}
    said = functions["__init__"].args
    return {
        argument.arg: (ast.unparse(argument.annotation) if argument.annotation else "Any", default is None)
        for argument, default in zip(said.kwonlyargs, said.kw_defaults, strict=True)
    }


# Arguments that are no options: how many come first in what makes a model, and in what reads a data set.
GIVEN = {"build": 3, "read": 1}


@functools.cache
def _modules(room: str, defines: str) -> dict[str, dict[str, bool]]:
    """The modules of a package that define a class or function `defines`, and its options: must they be stated?

    They are read, not imported: most of them import torch, which takes seconds.
    """
    found = {}
    for path in sorted((PACKAGE / room).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef)
                and node.name == defines
                and path.stem not in ("base", "__init__")
            ):
                arguments = [] if isinstance(node, ast.ClassDef) else node.args.args[GIVEN[defines] :]
                without = 0 if isinstance(node, ast.ClassDef) else len(arguments) - len(node.args.defaults)
                found[path.stem] = {one.arg: place < without for place, one in enumerate(arguments)}
    return found


def _check_modules(spec: dict[str, Any], where: str) -> None:
    """Model and data set must have their modules, which must take the options given to them."""
    readers = {name.replace("_", "-"): options for name, options in _modules("data", "read").items() if name != "load"}
    for what, name, options, known in (
        ("model", spec["model"]["name"], spec["model"]["options"], _modules("models", "build")),
        ("data set", spec["data"]["dataset"], spec["data"]["options"], readers),
    ):
        takes = lookup(what, name, known, where)
        for option in options:
            lookup(f"option of {what} {name}", option, takes, where)
        if missing := [option for option, needed in takes.items() if needed and option not in options]:
            raise ConfigError(f"{where}: {what} {name} needs its option {missing[0]!r}")


def _check_experiment(where: str, paper: Paper, experiment: Experiment) -> None:
    for method in experiment.with_extensions:
        lookup("method", method, paper.methods, where)
    patches = [("", experiment.by_method)]
    patches += [(f".settings.{name}", one.by_method) for name, one in experiment.settings.items()]
    patches += [(f".scales.{name}", one.by_method) for name, one in experiment.scales.items()]
    for place, by_method in patches:
        for method in by_method:
            lookup("method", method, paper.methods, f"{where}{place}.by_method")
    for name, block in experiment.scales.items():
        for setting in block.settings or ():
            lookup("setting", setting, experiment.settings, f"{where}.scales.{name}")
        for method in block.methods or ():
            lookup("method", method, experiment.with_extensions, f"{where}.scales.{name}")
    for extension in experiment.extensions:
        for setting in extension.settings or ():
            lookup("setting", setting, experiment.settings, f"{where}, extension {extension.id}")
    if experiment.status == "not run" and not experiment.reason:
        raise ConfigError(f"{where}: says 'not run'; give its reason")


def _check_artifact(where: str, paper: Paper, artifact: Artifact) -> None:
    for reads in artifact.reads:
        experiment = lookup("experiment", reads.experiment, paper.experiments, where)
        for setting in reads.settings or ():
            lookup("setting", setting, experiment.settings, where)
        for method in (*reads.methods, *reads.optional):
            lookup("method", method, paper.methods, where)
    if artifact.status == "not run" and not artifact.reason:
        raise ConfigError(f"{where}: says 'not run'; give its reason")


def _check_sources(config: "Config", paper: str) -> None:
    """Every value that decides a result says where it comes from; a smaller scale's changes are covered by its cut."""
    content, sources = config.papers[paper], config.sources[paper]
    blocks: list[tuple[tuple[str, ...], Any]] = []
    for name, experiment in content.experiments.items():
        said = experiment.model_dump(include={*SOURCED, "by_method"}, exclude_unset=True)
        blocks.append((("experiments", name), said))
        for key, setting in experiment.settings.items():
            said = setting.model_dump(include={*SOURCED, "by_method"}, exclude_unset=True)
            blocks.append((("experiments", name, "settings", key), said))
    for name, method in content.methods.items():
        said = method.model_dump(include={"options", "model", "training"}, exclude_unset=True)
        blocks.append((("methods", name), said))
    for name, artifact in content.artifacts.items():
        blocks.append((("artifacts", name), artifact.model_dump(include={"options"}, exclude_unset=True)))
    for where, said in blocks:
        for path in leaves(said):
            if said[path[0]] not in ({}, None) and not source_of(sources, where + path):
                key = _where(config, paper, *where, *path)
                raise ConfigError(f'{key} has no source; write {{value: ..., source: "..."}}')


def _check_specs(config: "Config", paper: str) -> None:
    """Every cell, at every scale, resolves to a complete spec with sizes that its data set has."""
    for name, experiment in config.papers[paper].experiments.items():
        for scale in ("paper", *experiment.scales):
            for setting in experiment.settings if scale == "paper" else config.settings_of(scale, paper, name):
                for method in experiment.with_extensions if scale == "paper" else config.methods_of(scale, paper, name):
                    spec = config.resolve(f"{scale}/{paper}/{name}/{setting}/{method}/seed0")
                    where = f"{_where(config, paper, 'experiments', name)}, {setting}, scale {scale}"
                    _check_loss(spec["method_options"], f"{where}, {method}: loss")
                    _check_modules(spec, where)
                sizes.check(spec["data"], where)
