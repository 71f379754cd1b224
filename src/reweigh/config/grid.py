"""The config: what runs exist, and the complete spec of each. Everything is checked when it is loaded, before any job.

    config = load()
    config.cells("quick", "tdr")                                   # every cell of a paper at a scale
    config.cells_of("paper", "tdr", "fig5")                        # the cells that one artifact needs
    config.resolve("paper/tdr/mnist-4v9/rho0.005/tdr/seed0")       # the spec of a run, a plain dict
    config.origins("paper/tdr/mnist-4v9/rho0.005/tdr/seed0")       # file, line and source of each of its values

How files become a config: `files` reads them, `inherit` writes out `like` and `grid`, `models` has their shapes,
`checks` and `references` what they must hold, `resolve` makes a spec; `loading` does it all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from reweigh.config import own
from reweigh.config.cards import card_of
from reweigh.config.files import PAPERS, Keys, Place
from reweigh.config.models import Artifact, Experiment, Paper
from reweigh.config.names import CellName, ExperimentName, NotAName, RunName, SplitName, seed_part, with_also
from reweigh.config.project import ProjectConfig
from reweigh.config.resolve import layers, spec_of
from reweigh.config.sources import leaves, place_of, source_of
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup, validated
from reweigh.errors import ConfigError

RUN_OR_CELL = "SCALE/PAPER/EXPERIMENT/SETTING/METHOD[/seedN]"
SPLIT_OR_RUN = "SCALE/PAPER/EXPERIMENT/SETTING[/METHOD]/seedN"


def _named(name: str, what: str, form: str) -> str:
    """A run's name, as it is. Raises NotAName, which says what else might have stood there and how it is written."""
    try:
        return str(RunName.parse(name))
    except NotAName:
        raise NotAName(f"{name!r} is not the name of {what}; write {form}") from None


class Origin(NamedTuple):
    """Where a value of a spec comes from: file and line, and its source, or what its scale leaves out."""

    place: Place
    source: str


@dataclass(frozen=True)
class Config:
    """All of config/, loaded and checked. Get it from `reweigh.config.loading.load`."""

    project: ProjectConfig
    papers: dict[str, Paper]
    sources: dict[str, dict[Keys, str]] = field(repr=False)
    places: dict[str, dict[Keys, Place]] = field(repr=False)
    root: Path = Path()
    refused: dict[str, str] = field(default_factory=dict)  # papers and data sets of a user's own that cannot be
    unread: dict[str, dict[str, str]] = field(default_factory=dict)  # by paper and name: entries of methods
    cut_text: "Callable[[Config, str, str, str], str]" = field(default=lambda *_: "", repr=False)  # see `cut`

    def paper(self, name: str) -> Paper:
        if name in self.refused:
            raise ConfigError(self.refused[name])
        return lookup("paper", name, self.papers)

    def lost_methods(self, paper: str) -> dict[str, str]:
        """What is wrong with the entries of methods that cannot be read, by name: of a paper and the one it extends."""
        extends = self.papers[paper].extends if paper in self.papers else None
        return {**(self.unread.get(extends, {}) if extends else {}), **self.unread.get(paper, {})}

    def _check_method(self, paper: str, name: str, where: str) -> None:
        """Raise ConfigError if a paper has no such method; with the file that should have it, if that is no YAML."""
        methods, lost = self.paper(paper).methods, self.lost_methods(paper)
        if name not in methods and name in lost:
            raise ConfigError(lost[name])
        try:
            lookup("method", name, methods, where)
        except ConfigError as error:
            raise ConfigError("; or it stands in ".join([str(error), *lost.values()])) from None

    def experiment(self, paper: str, name: str) -> Experiment:
        return lookup("experiment", name, self.paper(paper).experiments, f"{PAPERS}/{paper}")

    def artifact(self, paper: str, name: str) -> Artifact:
        """An artifact with the methods that it really reads. `fig5+sqrt2` is fig5 with the method sqrt2 beside its own.

        An artifact of a paper that extends another has that paper's own methods beside.
        """
        whole, (base, also) = self.paper(paper), with_also(name)
        artifact: Artifact = lookup("artifact", base, whole.artifacts, f"{PAPERS}/{paper}")
        where = f"{self.place(paper, 'artifacts', base)}: artifacts.{base}"
        for method in also:
            self._check_method(paper, method, where)
        read = {one.experiment for one in artifact.reads}
        beside = [one for one in self._own(paper) if whole.extends and not read.isdisjoint(whole.methods[one].joins)]
        return own.shown(whole, artifact, list(dict.fromkeys([*also, *beside])), where)

    def beside(self, paper: str, name: str) -> list[str]:
        """The methods of one's own, and those asked for by name, that an artifact shows where they have records."""
        read = {method for reads in self.artifact(paper, name).reads for method in (*reads.methods, *reads.optional)}
        asked = dict.fromkeys([*with_also(name)[1], *self.paper(paper).own])
        return [method for method in asked if method in read]

    def _own(self, paper: str) -> list[str]:
        """The methods of a paper that no paper has, without those that it takes from the one that it extends."""
        whole = self.paper(paper)
        theirs = self.papers[whole.extends].methods if whole.extends else {}
        return [name for name in whole.own if name not in theirs]

    def home(self, paper: str, experiment: str, method: str) -> str:
        """The paper under whose name a method of an experiment is trained: the extended one, where it has both."""
        extends = self.paper(paper).extends
        theirs = self.papers[extends].experiments.get(experiment) if extends else None
        return extends if extends and theirs and method in theirs.with_extensions else paper

    def trained_in(self, paper: str, experiment: str, method: str) -> str:
        """The experiment whose runs of a method stand for it in an experiment: itself, but for a user's own data.

        There plain training, which follows no weights, is trained once, in the first of the two experiments.
        """
        whole = self.paper(paper)
        shared = whole.only_at and method in whole.methods and card_of(whole.methods[method].uses).plain
        return next(iter(whole.experiments)) if shared else experiment

    def plain(self, paper: str, method: str) -> str:
        """Plain training that a method's gain is measured from, see `Paper.plain`; by the paper that is extended."""
        whole = self.paper(paper)
        other = self.papers[whole.extends] if whole.extends else whole
        known = {"published": whole.published or other.published, "baseline": whole.baseline or other.baseline}
        return whole.model_copy(update=known).plain(method)

    def trained(self, scale: str, paper: str, experiment: str) -> list[str]:
        """Those of `methods_of` that are trained under the name of this paper."""
        methods = self.methods_of(scale, paper, experiment)
        return [name for name in methods if self.home(paper, experiment, name) == paper]

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
            and self.has(scale, paper, name)
            and (one.extension is None or self.project.extensions)
        ]

    def has(self, scale: str, paper: str, experiment: str) -> bool:
        """Whether an experiment exists at a scale: at the one where nothing is cut, and at those that it describes."""
        return scale == self.paper(paper).whole or scale in self.experiment(paper, experiment).scales

    def papers_at(self, scale: str) -> list[str]:
        """The papers of a call that names a scale alone: those of config.yaml; at scale `local` all data sets there."""
        if scale == "local":
            return [name for name, one in self.papers.items() if one.only_at == scale]
        return self.project.papers

    def settings_of(self, scale: str, paper: str, experiment: str) -> list[str]:
        """The settings of an experiment that a scale keeps; none if the experiment does not exist at that scale."""
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        if not self.has(scale, paper, experiment):
            return []
        kept = block.settings if block else None
        return [name for name in one.settings if kept is None or name in kept]

    def methods_of(self, scale: str, paper: str, experiment: str) -> list[str]:
        """The methods of an experiment that a scale keeps; those of extensions where a smaller scale names them.

        Smaller scales keep methods of one's own too. Placeholders are none of them.
        """
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        said = one.methods if block is None or block.methods is None else block.methods
        mine = [] if scale == "paper" else self.paper(paper).own
        kept = [name for name in one.with_extensions if name in said or name in mine]
        return [name for name in kept if name not in one.placeholders]

    def seeds(self, scale: str, paper: str, experiment: str) -> list[int]:
        """The seeds of every cell of an experiment at a scale: 0, 1, ..."""
        one = self.experiment(paper, experiment)
        block = one.block(scale)
        return list(range(block.seeds if block and block.seeds else one.seeds))

    def cells(self, scale: str, paper: str, experiment: str | None = None) -> list[str]:
        """The cells of a paper, or of one experiment, at a scale, in the config's order."""
        chosen = [experiment] if experiment else self.experiments(scale, paper)
        return [cell for name in chosen for cell in self._cells_of_experiment(scale, paper, name)]

    def scored_runs(self, scale: str, paper: str) -> list[str]:
        """The runs of all cells that a number or a claim may be about: the grid, and the methods of extensions."""
        runs = []
        for name, experiment in self.paper(paper).experiments.items():
            for setting in self.settings_of(scale, paper, name):
                for method in experiment.with_extensions:
                    runs += self.runs_of(str(CellName(scale, self.home(paper, name, method), name, setting, method)))
        return runs

    def _cells_of_experiment(self, scale: str, paper: str, experiment: str) -> list[str]:
        one = self.experiment(paper, experiment)
        settings = self.settings_of(scale, paper, experiment)
        grid = [(setting, method) for setting in settings for method in self.trained(scale, paper, experiment)]
        if scale == self.paper(paper).whole and self.project.extensions:
            for extra in one.extensions:
                methods = [name for name in extra.methods if name not in one.placeholders]
                methods = [name for name in methods if self.home(paper, experiment, name) == paper]
                grid += [(s, m) for s in settings if s in (extra.settings or settings) for m in methods]
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
            whole = scale == self.paper(paper).whole
            wanted = reads.methods if whole else [*reads.methods, *reads.optional]
            needed = [name for name in wanted if name in offered]
            methods = [name for name in (*reads.methods, *reads.optional) if name not in needed] if optional else needed
            homes = {name: self.home(paper, reads.experiment, name) for name in methods}
            cells += [f"{scale}/{homes[m]}/{reads.experiment}/{s}/{m}" for s in kept for m in methods]
        return list(dict.fromkeys(cells))

    def run_name(self, run: str) -> RunName:
        """The parts of a run's name. Raises ConfigError, with the nearest name, if there is no such run."""
        name = RunName.parse(run)
        lookup("scale", name.scale, SCALES)
        one = self.experiment(name.paper, name.experiment)
        if not self.has(name.scale, name.paper, name.experiment):
            known = [*one.scales, self.paper(name.paper).whole]
            lookup("scale", name.scale, known, f"experiment {name.experiment} of {name.paper}")
        lookup("setting", name.setting, one.settings, f"experiment {name.experiment} of {name.paper}")
        self._check_method(name.paper, name.method, f"{PAPERS}/{name.paper}")
        return name

    def runs_named(self, name: str) -> list[str]:
        """The run of that name, or all runs of the cell of that name, as they are trained (see `home`).

        Raises ConfigError for those of a placeholder.
        """
        try:
            runs = self.runs_of(str(self.run_name(str(CellName.parse(name).run(0))).cell))
        except NotAName:
            runs = [str(self.run_name(_named(name, "a run or a cell", RUN_OR_CELL)))]
            self.check_seed(RunName.parse(runs[0]))
        for run in runs:
            if reason := self.placeholder(run):
                raise ConfigError(f"{RunName.parse(run).cell} is a placeholder, which nothing trains: {reason}")
        parsed = [RunName.parse(run) for run in runs]
        return [str(run._replace(paper=self.home(run.paper, run.experiment, run.method))) for run in parsed]

    def check_seed(self, name: RunName | SplitName) -> None:
        """Raise ConfigError for a run or a split of a seed that its experiment does not have at its scale."""
        seeds = self.seeds(name.scale, name.paper, name.experiment)
        if name.seed not in seeds:
            block = self.experiment(name.paper, name.experiment).block(name.scale)
            keys = ("scales", name.scale, "seeds") if block and block.seeds else ("seeds",)
            there = " to ".join(dict.fromkeys(map(seed_part, (seeds[0], seeds[-1]))))
            raise ConfigError(
                f"{ExperimentName(*name[:3])} has no seed{name.seed}, only {there}; name one of "
                f"these, or raise `seeds` in {self.place(name.paper, 'experiments', name.experiment, *keys)}"
            )

    def placeholder(self, run: str) -> str:
        """Why the method of a run is a placeholder in its experiment; empty if it is none."""
        name = RunName.parse(run)
        return " ".join(self.experiment(name.paper, name.experiment).placeholders.get(name.method, "").split())

    def run_with_split(self, name: str) -> str:
        """A run with the split of that name, `SCALE/PAPER/EXPERIMENT/SETTING/seedN`; a run's own name stays.

        Raises NotAName, a ConfigError, if the text is neither.
        """
        try:
            split = SplitName.parse(name)
        except NotAName:
            return _named(name, "a split or a run", SPLIT_OR_RUN)
        method = self.experiment(split.paper, split.experiment).with_extensions[0]
        return str(split.run(method))

    def resolve(self, run: str) -> dict[str, Any]:
        """The complete, validated spec of a run. Its digest is what its record carries."""
        name = self.run_name(run)
        where = f"{self.place(name.paper, 'experiments', name.experiment)}: {name.cell}"
        return spec_of(self.papers[name.paper], name, where)

    def place(self, paper: str, *keys: str) -> Place:
        """File and line of a key of a paper, `place("tdr", "methods", "er")`, or of the nearest block around it."""
        return place_of(self.places[paper], keys)

    def origins(self, run: str) -> dict[str, Origin]:
        """Where each value of a run's spec that the config states comes from, by its path: `training.epochs`."""
        name = self.run_name(run)
        sources, cut_here, origins = self.sources[name.paper], "", {}
        if name.scale != self.paper(name.paper).whole:
            cut_here = f"scale {name.scale}: {self.cut(name.scale, name.paper, name.experiment)}"
        for layer in layers(self.papers[name.paper], name):
            for path in leaves(layer.says):
                keys = layer.place_of(path)
                source = source_of(sources, keys) or (cut_here if keys[2:3] == ("scales",) else "")
                origins[".".join(path)] = Origin(self.place(name.paper, *keys), source)
        return origins

    def files_of(self, run: str) -> list[str]:
        """The files of the config that a run's spec is made from."""
        return sorted({origin.place.file for origin in self.origins(run).values()})

    def sources_of(self, run: str) -> dict[str, str]:
        """Where each value of a run's spec comes from, `training.epochs` -> "paper §4.1"; for a scale, its cut."""
        return {path: origin.source for path, origin in self.origins(run).items() if origin.source}

    def cut(self, scale: str, paper: str, experiment: str) -> str:
        """What a scale leaves out of an experiment, in words for its figures; empty at scale `paper`."""
        return self.cut_text(self, scale, paper, experiment)
