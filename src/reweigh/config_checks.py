"""What a paper's file must hold beyond its shape: names that exist, a source for every value, sizes that can be had."""

import ast
import functools
import math
from typing import TYPE_CHECKING, Any

from reweigh.config_models import Artifact, Experiment, Paper
from reweigh.config_sources import leaves, source_of
from reweigh.config_words import lookup, validated
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.spec_models import KNOBS

if TYPE_CHECKING:
    from reweigh.config import Config

# Values that decide results and so must say where they come from.
SOURCED = ("split", "scale_inputs", "augment", "dataset_options", "model", "training", "method_options", "seeds")

# Images a class in the official training part; a split that asks for more is refused before anything is read.
CLASS_SIZES = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "cifar10": [5000] * 10,
    "cifar10-slice": [205, 172, 145, 122, 220, 88, 74, 63, 53, 800],
    "cifar100": [500] * 100,
}

# The same for the official test part.
TEST_SIZES = {
    "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "cifar10": [1000] * 10,
    "cifar10-slice": [40, 40, 40, 40, 200, 40, 40, 40, 40, 200],
    "cifar100": [100] * 100,
}

# Examples in the official training part, without incomplete rows, of data sets whose classes are not drawn.
TRAINING_ROWS = {"adult": 30162}


def check(config: "Config", paper: str) -> None:
    """Raise ConfigError at the first thing in a paper's file that cannot be."""
    file, content = f"config/papers/{paper}.yaml", config.papers[paper]
    for name in content.methods:
        _check_method(f"{file}: methods.{name}", content, name)
    for name, experiment in content.experiments.items():
        _check_experiment(f"{file}: experiments.{name}", content, experiment)
    for name, artifact in content.artifacts.items():
        _check_artifact(f"{file}: artifacts.{name}", content, artifact)
    for claim in content.claims:
        where = f"{file}: claim {claim.id}"
        experiment = lookup("experiment", claim.experiment, content.experiments, where)
        for method in (claim.better, *claim.worse):
            lookup("method", method, content.methods, where)
        for setting in claim.settings or ():
            lookup("setting", setting, experiment.settings, where)
    _check_published(file, content)
    _check_sources(config, paper)
    _check_specs(config, paper)


def _check_method(where: str, paper: Paper, name: str) -> None:
    """A method must exist as a module and state all of the knobs that are known of it, and no others."""
    method = paper.methods[name]
    lookup("module of reweigh.methods", method.uses, sorted(_modules("methods", "Method")), where)
    if knobs := KNOBS.get(method.uses):
        validated(knobs, method.options, f"{where}.options")


@functools.cache
def _modules(room: str, defines: str) -> dict[str, list[str]]:
    """The modules of a package that define a class or function `defines`, and its last arguments, those with defaults.

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
                arguments = [] if isinstance(node, ast.ClassDef) else node.args.args
                count = 0 if isinstance(node, ast.ClassDef) else len(node.args.defaults)
                found[path.stem] = [argument.arg for argument in arguments[len(arguments) - count :]]
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


def _check_experiment(where: str, paper: Paper, experiment: Experiment) -> None:
    extra = [method for extension in experiment.extensions for method in extension.methods]
    for method in (*experiment.methods, *extra):
        lookup("method", method, paper.methods, where)
    for name, block in experiment.scales.items():
        for setting in block.settings or ():
            lookup("setting", setting, experiment.settings, f"{where}.scales.{name}")
        for method in block.methods or ():
            lookup("method", method, experiment.methods, f"{where}.scales.{name}")
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


def _check_published(file: str, paper: Paper) -> None:
    if paper.published is None:
        return
    for method in paper.published.methods.values():
        lookup("method", method, paper.methods, f"{file}: published.methods")
    for row in paper.published.rows:
        where = f"{file}: published row {row.table} {row.published_setting}"
        experiment = lookup("experiment", row.experiment, paper.experiments, where)
        lookup("setting", row.setting, experiment.settings, where)


def _check_sources(config: "Config", paper: str) -> None:
    """Every value that decides a result says where it comes from; a smaller scale's changes are covered by its cut."""
    content, sources = config.papers[paper], config.sources[paper]
    blocks: list[tuple[tuple[str, ...], Any]] = []
    for name, experiment in content.experiments.items():
        blocks.append((("experiments", name), experiment.model_dump(include=set(SOURCED), exclude_unset=True)))
        for key, setting in experiment.settings.items():
            said = setting.model_dump(include=set(SOURCED), exclude_unset=True)
            blocks.append((("experiments", name, "settings", key), said))
    for name, method in content.methods.items():
        blocks.append((("methods", name), method.model_dump(include={"options", "training"}, exclude_unset=True)))
    for where, said in blocks:
        for path in leaves(said):
            if said[path[0]] not in ({}, None) and not source_of(sources, where + path):
                key = ".".join(where + path)
                raise ConfigError(
                    f'config/papers/{paper}.yaml: {key} has no source; write {{value: ..., source: "..."}}'
                )


def _check_specs(config: "Config", paper: str) -> None:
    """Every cell, at every scale, resolves to a complete spec with sizes that its data set has."""
    for name, experiment in config.papers[paper].experiments.items():
        methods = {*experiment.methods, *(method for one in experiment.extensions for method in one.methods)}
        for scale in ("paper", *experiment.scales):
            for setting in experiment.settings if scale == "paper" else config.settings_of(scale, paper, name):
                for method in methods:
                    spec = config.resolve(f"{scale}/{paper}/{name}/{setting}/{method}/seed0")
                where = f"config/papers/{paper}.yaml: experiments.{name}, {setting}, scale {scale}"
                _check_modules(spec, where)
                _check_sizes(spec["data"], where)


def class_sizes(data: dict[str, Any]) -> dict[int, int]:
    """Training images of each class (official label -> count) that a spec's `data` block asks for; empty for groups.

    Raises ConfigError for a ratio that leaves a class without an image.
    """
    from reweigh.data.imbalance import long_tail_sizes, two_class_sizes

    split = data["split"]
    if split["kind"] == "two-class":
        return dict(zip(split["classes"], two_class_sizes(split["total"], split["imbalance_ratio"]), strict=True))
    if split["kind"] == "long-tail" and data["dataset"] in CLASS_SIZES:
        count = len(CLASS_SIZES[data["dataset"]])
        return dict(enumerate(long_tail_sizes(split["largest_class"], split["imbalance_ratio"], count)))
    return {}


def _check_sizes(data: dict[str, Any], where: str) -> None:
    """The data set must have what the split asks for, beside the target and validation images kept apart."""
    split, available = data["split"], CLASS_SIZES.get(data["dataset"])
    try:
        wanted = class_sizes(data)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if available is None or not wanted:
        return
    # Draws are even over the classes; target images may be training images too where the config says so.
    reserved = split["validation_size"] + (0 if split["target_inside"] else split["target_size"])
    for label, size in wanted.items():
        if label >= len(available):
            raise ConfigError(f"{where}: class {label} is not among the {len(available)} of {data['dataset']}")
        needed = size + math.ceil(reserved / len(wanted))
        if needed > available[label]:
            have = f"{data['dataset']} has {available[label]}"
            raise ConfigError(
                f"{where}: class {label} needs {needed} images ({size} to train on), {have}; ask for fewer"
            )
    each = (split["test_size"] or 0) // len(wanted)
    for label in wanted:
        if each > (there := TEST_SIZES[data["dataset"]][label]):
            raise ConfigError(
                f"{where}: test_size asks for {each} images of class {label}, "
                f"{data['dataset']} has {there}; ask for fewer"
            )
