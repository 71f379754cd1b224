"""What a config says must have an effect: what begins after the end is refused, and what changes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from reweigh.config.cards import card_of
from reweigh.config.grid import Config
from reweigh.config.models import DEFERRALS, Experiment, MethodPatch
from reweigh.config.names import RunName
from reweigh.config.resolve import laid_over, layers
from reweigh.errors import ConfigError

Keys = tuple[str, ...]


def check_ends(spec: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for an epoch, in the options of a spec's method, that the run never reaches.

    Epochs count from the beginning of each stage. A method with a prefix begins after it, as nothing of its own may act
    before. The schedule of the training block may be one for longer runs, of which a run takes the first epochs.
    """
    options, training, card = spec["method_options"], spec["training"], card_of(spec["uses"])
    _check_first_epochs(options, training["epochs"], where)
    stages = card.stages(options, training["epochs"])
    prefix = card.prefix(options)
    own = stages[prefix.stages :] if prefix else stages
    longest = max((stage.epochs for stage in own), default=0)
    drops = [
        (key, value, options["search_epochs"] if key.startswith("upper_") else training["epochs"])
        for key, value in options.items()
        if key.endswith("_milestones")
    ]
    if "search_schedule" in options:  # null: that of the training block, whose later milestones it does not reach
        own_schedule = options["search_schedule"] or {}
        drops.append(("search_schedule", own_schedule.get("milestones"), options["search_epochs"]))
    for key in ("joint_schedule", "second_schedule"):  # of what comes after the warm epochs
        if after := options.get(key):
            drops.append((key, after.get("milestones"), training["epochs"] - options["warm_epochs"]))
    if second := options.get("second_stage"):
        drops.append(("second_stage.schedule", second["schedule"].get("milestones"), second["epochs"]))
    for path, epoch in _begins(options):
        if epoch and epoch >= longest:
            raise ConfigError(
                f"{where}: {'.'.join(path)} is {epoch}, but there are {longest} epochs (from 0), so that it never "
                f"begins; lower it{_or_null(path)}"
            )
    for name, milestones, epochs in drops:
        if milestones and max(milestones) >= epochs:
            raise ConfigError(
                f"{where}: {name} has a milestone at epoch {max(milestones)}, but there are {epochs} epochs (from 0); "
                "leave it out"
            )


def _check_first_epochs(options: Mapping[str, Any], epochs: int, where: str) -> None:
    """Refuse more first epochs than there are: a warm start after which nothing comes, what is to come of others."""
    warm, ranked = options.get("warm_epochs"), (options.get("margins") or {}).get("epochs")
    judged = options.get("errors_after")
    if warm is not None and warm >= epochs:
        raise ConfigError(
            f"{where}: warm_epochs is {warm}, but there are {epochs} epochs, so that nothing comes after them; lower it"
        )
    if ranked is not None and ranked > epochs:
        raise ConfigError(f"{where}: margins.epochs is {ranked}, but ERM is trained for {epochs}; lower it")
    if judged is not None and judged > epochs:
        raise ConfigError(f"{where}: errors_after is {judged}, but the first stage has {epochs} epochs; lower it")


def _or_null(path: Keys) -> str:
    """How to say on purpose that what begins at `path` never does."""
    unset = path if path[-1] == "refresh_from" else path[:-1]
    return f", or set {'.'.join(unset)} to null" if unset else ""


def _begins(options: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, int]]:
    """The epochs from which options act, with their paths; those that are null are never meant to."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _begins(value, (*path, key))
        elif key in DEFERRALS and value is not None:
            yield (*path, key), value


def check_patches(config: Config, paper: str) -> None:
    """Raise ConfigError for what `by_method` says of a method that changes no spec of a run of it, at any scale.

    What several experiments or settings share (a block, a grid) need only have an effect in one of them.
    """
    effects: dict[tuple[str, str], tuple[bool, str]] = {}  # by place and method: whether it changes a run, and its name
    for name, experiment in config.papers[paper].experiments.items():
        for where, method in _patches(name, experiment):
            key = (str(config.place(paper, *where, "by_method", method)), method)
            effects.setdefault(key, (False, ".".join((*where, "by_method", method))))
        for run in _runs(config, paper, name, experiment):
            found = layers(config.papers[paper], run)
            for number, layer in enumerate(found):
                if layer.says and "by_method" in layer.where:
                    key = (str(config.place(paper, *layer.where)), run.method)
                    if not effects[key][0] and _merged(found) != _merged(found[:number] + found[number + 1 :]):
                        effects[key] = (True, effects[key][1])
    for (place, _), (has_effect, path) in effects.items():
        if not has_effect:
            raise ConfigError(
                f"{place}: {path} changes no run: its values are those that the run has without it, or another layer "
                "replaces them, or no experiment has the method; mend it or take it out"
            )


def _patches(name: str, experiment: Experiment) -> Iterator[tuple[Keys, str]]:
    """Where an experiment, its settings and its scales say something of one method, and of which."""
    here = ("experiments", name)
    blocks: list[tuple[Keys, Mapping[str, MethodPatch]]] = [(here, experiment.by_method)]
    blocks += [((*here, "settings", key), one.by_method) for key, one in experiment.settings.items()]
    blocks += [((*here, "scales", key), one.by_method) for key, one in experiment.scales.items()]
    for where, by_method in blocks:
        for method in by_method:
            yield where, method


def _runs(config: Config, paper: str, name: str, experiment: Experiment) -> Iterator[RunName]:
    """A run of each cell that an experiment has for a method of which something is said, at every scale."""
    named = {method for _, method in _patches(name, experiment)}
    whole = config.papers[paper].whole
    for scale in (whole, *experiment.scales):
        kept = experiment.with_extensions if scale == whole else config.methods_of(scale, paper, name)
        for setting in experiment.settings if scale == whole else config.settings_of(scale, paper, name):
            for method in kept:
                if method in named:
                    yield RunName(scale, paper, name, setting, method, 0)


def _merged(found: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in found:
        merged = laid_over(merged, layer.says)
    return merged
