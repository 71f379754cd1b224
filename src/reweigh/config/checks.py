"""What a paper must hold beyond its shape: names that exist, a source for every value, sizes that can be had."""

import ast
import functools
from typing import Any

from reweigh.config import effects, inputs, needs, references, sizes
from reweigh.config.cards import card_of, check_options
from reweigh.config.grid import Config
from reweigh.config.models import ALL, Artifact, Experiment, Paper
from reweigh.config.modules import check_modules
from reweigh.config.own import why_broken
from reweigh.config.sources import leaves, source_of
from reweigh.config.validation import lookup
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError

# Values that decide results and so must say where they come from.
SOURCED = ("split", "scale_inputs", "augment", "dataset_options", "model", "training", "options", "seeds")


def check(config: Config, paper: str) -> None:
    """Raise ConfigError at the first thing in a paper that cannot be."""
    content = config.papers[paper]
    for name, method in content.methods.items():
        if why_broken(method):
            continue  # a placeholder, see `own.joined`
        check_options(method.uses, method.options, _where(config, paper, "methods", name, "options"))
    for name, experiment in content.experiments.items():
        _check_experiment(_where(config, paper, "experiments", name), content, experiment)
    for name, artifact in content.artifacts.items():
        _check_artifact(_where(config, paper, "artifacts", name), content, artifact)
    references.check(config, paper)
    _check_sources(config, paper)
    _check_specs(config, paper)
    references.check_curves(config, paper)
    effects.check_patches(config, paper)


def _where(config: Config, paper: str, *keys: str) -> str:
    """File, line and path of a key."""
    return f"{config.place(paper, *keys)}: {'.'.join(keys)}"


@functools.cache
def has_batch_norm(model: str) -> bool:
    """Whether the module of a model names a batch norm, in its code or among its imports. It is read, not imported."""
    for node in ast.walk(ast.parse((PACKAGE / "models" / f"{model}.py").read_text(encoding="utf-8"))):
        names = [getattr(node, key, None) for key in ("id", "attr", "name")]
        if any(isinstance(name, str) and "BatchNorm" in name for name in names):
            return True
    return False


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
    for method, reason in experiment.placeholders.items():
        lookup("method", method, experiment.with_extensions, f"{where}.placeholders")
        if not reason.strip():
            raise ConfigError(f"{where}.placeholders.{method}: has no reason; say what is not as in the paper")
    if experiment.status == "not run" and not experiment.reason:
        raise ConfigError(f"{where}: says 'not run'; give its reason")
    if experiment.absent and experiment.status != "not run":
        raise ConfigError(f"{where}: lacks its {experiment.absent[0]} (absent); say 'status: not run', with the reason")


def _check_artifact(where: str, paper: Paper, artifact: Artifact) -> None:
    for reads in artifact.reads:
        experiment = lookup("experiment", reads.experiment, paper.experiments, where)
        for setting in reads.settings or ():
            lookup("setting", setting, experiment.settings, where)
        for method in (*(() if reads.methods == ALL else reads.methods), *reads.optional):
            lookup("method", method, paper.methods, where)
    if artifact.status == "not run" and not artifact.reason:
        raise ConfigError(f"{where}: says 'not run'; give its reason")


def _check_sources(config: Config, paper: str) -> None:
    """Every value that decides a result says where it comes from; a smaller scale's changes are covered by its cut."""
    content, sources = config.papers[paper], config.sources[paper]
    blocks: list[tuple[tuple[str, ...], Any]] = []
    for name, experiment in content.experiments.items():
        values = experiment.model_dump(include={*SOURCED, "by_method"}, exclude_unset=True)
        blocks.append((("experiments", name), values))
        for key, setting in experiment.settings.items():
            values = setting.model_dump(include={*SOURCED, "by_method"}, exclude_unset=True)
            blocks.append((("experiments", name, "settings", key), values))
    for name, method in content.methods.items():
        values = method.model_dump(include={"options", "model", "training"}, exclude_unset=True)
        blocks.append((("methods", name), values))
    for name, artifact in content.artifacts.items():
        blocks.append((("artifacts", name), artifact.model_dump(include={"options"}, exclude_unset=True)))
    for where, values in blocks:
        for path in leaves(values):
            if values[path[0]] not in ({}, None) and not source_of(sources, where + path):
                key = _where(config, paper, *where, *path)
                raise ConfigError(f'{key} has no source; write {{value: ..., source: "..."}}')


def _check_specs(config: Config, paper: str) -> None:
    """Every cell, at every scale, resolves to a complete spec with sizes that its data set has."""
    content = config.papers[paper]
    for name, experiment in content.experiments.items():
        for scale in (content.whole, *experiment.scales):
            whole = scale == content.whole
            for setting in experiment.settings if whole else config.settings_of(scale, paper, name):
                where = f"{_where(config, paper, 'experiments', name)}, {setting}, scale {scale}"
                methods = experiment.with_extensions if whole else config.methods_of(scale, paper, name)
                methods = [name for name in methods if not why_broken(content.methods[name])]
                specs = [config.resolve(f"{scale}/{paper}/{name}/{setting}/{method}/seed0") for method in methods]
                for spec in specs:
                    check_modules(spec, where, experiment.absent)
                if not specs:  # all of its methods are broken
                    continue
                inputs.check(specs[0]["data"], where)  # data are those of all methods
                sizes.check(specs[0]["data"], where)
                for spec in specs:
                    if spec["method"] not in experiment.placeholders:
                        batch_norm = "model" not in experiment.absent and has_batch_norm(spec["model"]["name"])
                        _check_run(spec, batch_norm, f"{where}, method {spec['method']}")


def _check_run(spec: dict[str, Any], batch_norm: bool, where: str) -> None:
    """What a run would come upon as it begins, or would never come to."""
    inputs.check_learned(spec["data"], spec["method_options"], where)
    precision, right = spec["training"]["precision"], card_of(spec["uses"]).precisions
    if precision not in right:
        raise ConfigError(f"{where}: {spec['uses']} is not for precision {precision}; use {' or '.join(right)}")
    needs.check(spec, where)
    effects.check_ends(spec, where)
    sizes.check_batches(spec, batch_norm, where)
