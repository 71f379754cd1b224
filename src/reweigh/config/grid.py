"""The config: what runs exist, and the complete spec of each. Everything is checked when it is loaded, before any job.

    config = load()
    config.cells("quick", "tdr")                                   # every cell of a paper at a scale
    config.cells_of("paper", "tdr", "fig5")                        # the cells that one artifact needs
    config.resolve("paper/tdr/mnist-4v9/rho0.005/tdr/seed0")       # the spec of a run, a plain dict

A spec is laid over itself in layers: experiment, setting, method, scale. What experiment and setting say of one method
(`by_method`) comes after it, what the scale says of it last. Each layer replaces the keys that it names.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from reweigh.config import checks
from reweigh.config.cards import check_options
from reweigh.config.models import (
    DEFERRALS,
    Artifact,
    Experiment,
    Method,
    MethodPatch,
    Paper,
    Patch,
    ProjectConfig,
)
from reweigh.config.names import CellName, NotAName, RunName, SplitName
from reweigh.config.sources import Path_, leaves, source_of, without_sources
from reweigh.config.specs import SCALES, SPEC_VERSION, Spec
from reweigh.config.validation import lookup, validated
from reweigh.errors import ConfigError

CONFIG = "config/config.yaml"


class Layer(NamedTuple):
    """One layer of a spec: where it stands in the paper's file, and what it says in the spec's own shape."""

    where: Path_
    says: dict[str, Any]


@dataclass(frozen=True)
class Config:
    """All of config/, loaded and checked. Get it from `load`."""

    project: ProjectConfig
    papers: dict[str, Paper]
    sources: dict[str, dict[Path_, str]] = field(repr=False)
    root: Path = Path()

    def paper(self, name: str) -> Paper:
        return lookup("paper", name, self.papers)

    def experiment(self, paper: str, name: str) -> Experiment:
        return lookup("experiment", name, self.paper(paper).experiments, f"config/papers/{paper}.yaml")

    def artifact(self, paper: str, name: str) -> Artifact:
        return lookup("artifact", name, self.paper(paper).artifacts, f"config/papers/{paper}.yaml")

    def with_options(self, **changes: Any) -> "Config":
        """This config with other values of config.yaml's keys, as `snakemake --config key=value` gives them."""
        merged = {**self.project.model_dump(), **changes}
        return replace(self, project=validated(ProjectConfig, merged, "--config"))

    def experiments(self, scale: str, paper: str) -> list[str]:
        """The experiments that exist at a scale and can be run; extensions only where the settings ask for them."""
        lookup("scale", scale, SCALES)
        return [
            name
            for name, one in self.paper(paper).experiments.items()
            if one.status == "ready"
            and (scale == "paper" or scale in one.scales)
            and (one.extension is None or self.project.extensions)
        ]

    def settings_of(self, scale: str, paper: str, experiment: str) -> list[str]:
        """The settings of an experiment that a scale keeps; none if the experiment does not exist at that scale."""
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        if scale != "paper" and block is None:
            return []
        kept = block.settings if block else None
        return [name for name in one.settings if kept is None or name in kept]

    def methods_of(self, scale: str, paper: str, experiment: str) -> list[str]:
        """The methods of an experiment that a scale keeps; those of extensions where a smaller scale names them."""
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        if block is None or block.methods is None:
            return one.methods
        return [name for name in one.with_extensions if name in block.methods]

    def seeds(self, scale: str, paper: str, experiment: str) -> list[int]:
        """The seeds of every cell of an experiment at a scale: 0, 1, ..."""
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        return list(range(block.seeds if block and block.seeds else one.seeds))

    def cells(self, scale: str, paper: str, experiment: str | None = None) -> list[str]:
        """The cells of a paper, or of one experiment, at a scale, in the config's order."""
        chosen = [experiment] if experiment else self.experiments(scale, paper)
        return [cell for name in chosen for cell in self._cells_of_experiment(scale, paper, name)]

    def _cells_of_experiment(self, scale: str, paper: str, experiment: str) -> list[str]:
        one = self.experiment(paper, experiment)
        settings = self.settings_of(scale, paper, experiment)
        grid = [(setting, method) for setting in settings for method in self.methods_of(scale, paper, experiment)]
        if scale == "paper" and self.project.extensions:
            for extra in one.extensions:
                grid += [(s, m) for s in settings if s in (extra.settings or settings) for m in extra.methods]
        return [f"{scale}/{paper}/{experiment}/{setting}/{method}" for setting, method in dict.fromkeys(grid)]

    def runs(self, scale: str, paper: str, experiment: str | None = None) -> list[str]:
        """The runs of a paper, or of one experiment, at a scale."""
        return [run for cell in self.cells(scale, paper, experiment) for run in self.runs_of(cell)]

    def runs_of(self, cell: str) -> list[str]:
        """The runs of a cell, one a seed."""
        name = CellName.parse(cell)
        return [str(name.run(seed)) for seed in self.seeds(name.scale, name.paper, name.experiment)]

    def cells_of(self, scale: str, paper: str, artifact: str, optional: bool = False) -> list[str]:
        """The cells that an artifact needs at a scale, or (`optional`) those that it also draws if their records exist.

        At the small scales an optional cell of the grid is needed too: it costs seconds. At scale `paper` it costs
        hours, and a figure does not wait for it.
        """
        lookup("scale", scale, SCALES)
        cells = []
        for reads in self.artifact(paper, artifact).reads:
            if self.experiment(paper, reads.experiment).status != "ready":
                continue
            settings = self.settings_of(scale, paper, reads.experiment)
            kept = [name for name in settings if reads.settings is None or name in reads.settings]
            offered = self.methods_of(scale, paper, reads.experiment)
            wanted = reads.methods if scale == "paper" else [*reads.methods, *reads.optional]
            needed = [name for name in wanted if name in offered]
            methods = [name for name in (*reads.methods, *reads.optional) if name not in needed] if optional else needed
            cells += [f"{scale}/{paper}/{reads.experiment}/{s}/{m}" for s in kept for m in methods]
        return list(dict.fromkeys(cells))

    def run_name(self, run: str) -> RunName:
        """The parts of a run's name. Raises ConfigError, with the nearest name, if there is no such run."""
        name = RunName.parse(run)
        lookup("scale", name.scale, SCALES)
        one = self.experiment(name.paper, name.experiment)
        if name.scale != "paper":
            lookup("scale", name.scale, [*one.scales, "paper"], f"experiment {name.experiment} of {name.paper}")
        lookup("setting", name.setting, one.settings, f"experiment {name.experiment} of {name.paper}")
        lookup("method", name.method, self.paper(name.paper).methods, f"config/papers/{name.paper}.yaml")
        return name

    def runs_named(self, name: str) -> list[str]:
        """The run of that name, or all runs of the cell of that name."""
        try:
            return self.runs_of(str(self.run_name(str(CellName.parse(name).run(0))).cell))
        except NotAName:
            return [str(self.run_name(name))]

    def run_with_split(self, name: str) -> str:
        """A run with the split of that name, `SCALE/PAPER/EXPERIMENT/SETTING/seedN`; a run's own name stays."""
        try:
            split = SplitName.parse(name)
        except NotAName:
            return name
        method = self.experiment(split.paper, split.experiment).methods[0]
        return str(RunName(split.scale, split.paper, split.experiment, split.setting, method, split.seed))

    def resolve(self, run: str) -> dict[str, Any]:
        """The complete, validated spec of a run. Its digest is what its record carries."""
        parts = self.run_name(run)
        merged: dict[str, Any] = {}
        for layer in self._layers(parts):
            merged = _laid_over(merged, layer.says)
        spec = {**parts._asdict(), "spec_version": SPEC_VERSION, **merged}
        where = f"config/papers/{parts.paper}.yaml: {parts.cell}"
        spec["method_options"] = check_options(merged["uses"], merged["method_options"], f"{where}: options")
        return validated(Spec, spec, where).model_dump()

    def sources_of(self, run: str) -> dict[str, str]:
        """Where each value of a run's spec comes from, `training.epochs` -> "paper §4.1"; for a scale, its cut."""
        parts = self.run_name(run)
        found: dict[str, str] = {}
        for layer in self._layers(parts):
            for path in leaves(layer.says):
                source = source_of(self.sources[parts.paper], layer.where + _own_path(path, layer.where))
                if source or layer.where[2:3] == ("scales",):
                    found[".".join(path)] = source or self._cut(parts)
        return found

    def cut(self, scale: str, paper: str, experiment: str) -> str:
        """What a scale leaves out of an experiment, in words for its figures; empty at scale `paper`."""
        block = self.experiment(paper, experiment).block(scale)
        return block.cut if block else ""

    def _cut(self, run: RunName) -> str:
        return f"scale {run.scale}: {self.cut(run.scale, run.paper, run.experiment)}" if run.scale != "paper" else ""

    def _layers(self, run: RunName) -> list[Layer]:
        paper = self.papers[run.paper]
        experiment, method = paper.experiments[run.experiment], paper.methods[run.method]
        setting, block = experiment.settings[run.setting], experiment.block(run.scale)
        base = ("experiments", run.experiment)
        here = (*base, "settings", run.setting)
        layers = [
            Layer(base, _spec_shape(experiment)),
            Layer(here, _spec_shape(setting)),
            Layer(("methods", run.method), {"uses": method.uses, **_method_shape(method)}),
            _of_method(base, experiment.by_method, run.method),
            # A setting may vary a knob of the method itself (an ablation): it speaks after the method.
            Layer(here, _set_in(setting, "method_options")),
            _of_method(here, setting.by_method, run.method),
        ]
        if block:
            where = (*base, "scales", run.scale)
            layers += [Layer(where, _spec_shape(block)), _of_method(where, block.by_method, run.method)]
            if block.from_epoch:
                layers.append(Layer(where, {"method_options": _deferred(layers, block.from_epoch)}))
        return layers


# --- loading ---------------------------------------------------------------------------------------------------------


def load(root: str | Path = ".") -> Config:
    """Load and check config/ below `root`; the same object as long as no file has changed."""
    root = Path(root)
    if not (root / CONFIG).is_file():
        raise ConfigError(f"no {CONFIG} in {root.resolve()}; run this in the project's own folder")
    files = [root / CONFIG, *sorted((root / "config/papers").glob("*.yaml"))]
    return _load(root.resolve(), tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


def resolve(run: str, root: str | Path = ".") -> dict[str, Any]:
    """The complete, validated spec of a run (see `Config.resolve`)."""
    return load(root).resolve(run)


@functools.lru_cache(maxsize=4)
def _load(root: Path, files: tuple[tuple[Path, int, int], ...]) -> Config:
    project = validated(ProjectConfig, _read_yaml(files[0][0]), CONFIG)
    papers, sources = {}, {}
    for file, _, _ in files[1:]:
        label = f"config/papers/{file.name}"
        plain, sources[file.stem] = without_sources(_read_yaml(file))
        papers[file.stem] = validated(Paper, plain, label)
    for name in project.papers:
        lookup("paper", name, papers, CONFIG)
    config = Config(project, papers, sources, root)
    for name in papers:
        checks.check(config, name)
    return config


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold keys and values, holds {type(content).__name__}")
    return content


# --- layers ----------------------------------------------------------------------------------------------------------
_DATA_KEYS = {"dataset": "dataset", "dataset_options": "options", "split": "split", "scale_inputs": "scale_inputs",
              "augment": "augment"}  # fmt: skip


def _set_in(model: BaseModel, *keys: str) -> dict[str, Any]:
    """What `model` sets itself among `keys`, as plain values."""
    return model.model_dump(include=set(keys), exclude_unset=True)


def _spec_shape(patch: Patch) -> dict[str, Any]:
    """A layer in the shape of a spec: the keys about data go below `data`."""
    says = _set_in(patch, *_DATA_KEYS, "model", "training", "method_options")
    data = {_DATA_KEYS[key]: says.pop(key) for key in _DATA_KEYS if key in says}
    return {**says, **({"data": data} if data else {})}


def _method_shape(said: Method | MethodPatch) -> dict[str, Any]:
    """What a method, or a patch of one, says, in the shape of a spec."""
    shape = _set_in(said, "options", "model", "training")
    return {"method_options" if key == "options" else key: value for key, value in shape.items()}


def _of_method(where: Path_, patches: Mapping[str, MethodPatch], method: str) -> Layer:
    """The layer of a setting or scale that is for one method alone; it says nothing if there is none."""
    return Layer((*where, "by_method", method), _method_shape(patches[method]) if method in patches else {})


def _deferred(layers: list[Layer], epoch: int) -> dict[str, Any]:
    """The options of the method, with what begins later than at once beginning at `epoch`."""

    def shifted(tree: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            if isinstance(value, dict) and (below := shifted(value)):
                found[key] = below
            elif key in DEFERRALS and value:
                found[key] = epoch
        return found

    options: dict[str, Any] = {}
    for layer in layers:
        options = _laid_over(options, layer.says.get("method_options", {}))
    return shifted(options)


def _own_path(path: Path_, where: Path_) -> Path_:
    """Where the value at `path` of a spec stands in its block of a paper's file; the inverse of the shapes above."""
    if path[0] == "data":
        own = next(key for key, name in _DATA_KEYS.items() if name == path[1])
        return (own, *path[2:])
    of_method = where[0] == "methods" or where[-2] == "by_method"
    return ("options", *path[1:]) if of_method and path[0] == "method_options" else path


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; a schedule is replaced whole, as its keys depend on its name."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "schedule"
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged
