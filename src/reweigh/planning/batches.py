"""Seed batches: what one job trains, or whose splits it draws, with its inputs and the digests that make it run again.

A training job takes the seeds of one method at a setting, or those of all its methods: starting Python and importing
torch costs seconds, which is more than a small run takes.
"""

import functools
import re
import shlex
from dataclasses import dataclass, replace
from typing import Any

from reweigh.config.files import CARDS
from reweigh.config.grid import Config
from reweigh.config.names import ExperimentName, RunName, seed_part
from reweigh.digest import digest
from reweigh.planning import notes
from reweigh.records.staleness import Dependencies, drawn_by

Wildcards = Any  # an object of Snakemake with one attribute per wildcard


@dataclass(frozen=True)
class SeedBatch:
    """The seeds that one job trains, or whose splits one job draws, and the experiments that have such a batch.

    A training job takes one method, a wildcard of its rule, or all `methods` of a setting. `by_setting` has the scales
    at which the methods of an experiment are left to the latter kind of job. `asked` has the runs that a training job
    is to train, as methods ("" where that is a wildcard) and seeds; empty for all of them.
    """

    dependencies: Dependencies
    seeds: tuple[int, ...]
    experiments: tuple[ExperimentName, ...]
    methods: tuple[str, ...] = ()
    by_setting: tuple[str, ...] = ()
    asked: tuple[tuple[str, int], ...] = ()

    def only(self, runs: tuple[str, ...]) -> "SeedBatch":
        """This batch with those of its runs that are asked for; with all of them if it has none of `runs`.

        Its digests stay those of the whole batch, so that the runs which are left out later change no params.
        """
        names = [name for name in map(RunName.parse, runs) if name.of_experiment in self.experiments]
        mine = [name for name in names if name.seed in self.seeds and (not self.methods or name.method in self.methods)]
        return replace(self, asked=tuple(sorted({(name.method if self.methods else "", name.seed) for name in mine})))

    def _is_asked(self, method: str, seed: int) -> bool:
        return not self.asked or (method if self.methods else "", seed) in self.asked

    @property
    def config(self) -> Config:
        return self.dependencies.config

    @property
    def name(self) -> str:
        """A name for the rule: `seeds_0_to_4`; of several methods `4_methods_1c0f5e_seeds_0_to_4`, by their digest."""
        seeds = f"seeds_{self.seeds[0]}_to_{self.seeds[-1]}" if len(self.seeds) > 1 else f"seed_{self.seeds[0]}"
        return f"{len(self.methods)}_methods_{digest(self.methods)[:6]}_{seeds}" if self.methods else seeds

    @property
    def pattern(self) -> str:
        """What the wildcard `experiment` may be."""
        return "|".join(map(self._pattern, self.experiments))

    def _pattern(self, experiment: ExperimentName) -> str:
        """An experiment; where another job trains its methods, not before one of them."""
        text, methods = re.escape(str(experiment)), self.config.trained(*experiment)
        if experiment.scale not in self.by_setting or len(methods) == 1:
            return text
        return f"{text}(?!/[^/]+/(?:{'|'.join(map(re.escape, methods))})/)"

    @property
    def log(self) -> str:
        """The log of a training job, as a pattern."""
        return f"logs/train/{{experiment}}/{{setting}}/{'' if self.methods else '{method}/'}{self.name}.log"

    @property
    def records(self) -> list[str]:
        """The records, as patterns."""
        methods = self.methods or ("{method}",)
        return [
            f"results/{{experiment}}/{{setting}}/{method}/{seed_part(seed)}.json"
            for method in methods
            for seed in self.seeds
            if self._is_asked(method, seed)
        ]

    @property
    def splits(self) -> list[str]:
        """The arrays of the splits, as patterns."""
        return [f"data/splits/{{experiment}}/{{setting}}/{seed_part(seed)}.npz" for seed in self.seeds]

    @property
    def split_reports(self) -> list[str]:
        """The reports beside the splits, as patterns."""
        return [f"data/splits/{{experiment}}/{{setting}}/{seed_part(seed)}.json" for seed in self.seeds]

    # Inputs are named only while they are needed. So a raw file or a split that is newer than a finished record makes
    # nothing stale, and a missing one is not made for it. `ancient` would do that too, but Snakemake ignores the params
    # of a job with an `ancient` input that is about to be made again, and would miss a real change.

    def training_inputs(self, wildcards: Wildcards) -> list[str]:
        """The splits and the raw data that training reads; nothing if every record is there and current."""
        if all(self.dependencies.recorded(run) for run in self.trained(wildcards)) and not self.stale_notes(wildcards):
            return []
        return [*(self._filled(path, wildcards) for path in self.splits), self._source_file(wildcards)]

    def split_inputs(self, wildcards: Wildcards) -> list[str]:
        """The raw data that splits are drawn from; nothing if every split is there, drawn by today's recipe."""
        reports = [self._filled(path, wildcards) for path in self.split_reports]
        before = [drawn_by(self.config.root / report) for report in reports]
        today = [self.dependencies.recipe(name) for name in self.split_names(wildcards)]
        return [] if before == today else [self._source_file(wildcards)]

    def _source_file(self, wildcards: Wildcards) -> str:
        name = ExperimentName.parse(wildcards.experiment)
        if self.config.paper(name.paper).only_at:  # a user's own data stay where they are; their card has their digest
            return f"{CARDS}/{name.paper}.yaml"
        return f"data/raw/{dataset_of(self.config, name)}/SOURCE.json"

    def _filled(self, pattern: str, wildcards: Wildcards) -> str:
        return pattern.format(experiment=wildcards.experiment, setting=wildcards.setting)

    def stale_notes(self, wildcards: Wildcards) -> list[str]:
        """A note (see `notes`) for each record that is stale by its own digests; its path says why."""
        root, runs = self.config.root, self.trained(wildcards)
        reasons = {run: parts for run in runs if (parts := self.dependencies.stale(run))}
        return [notes.write(root, parts, run, [f"results/{run}.json"]) for run, parts in reasons.items()]

    def stale_splits(self, wildcards: Wildcards) -> list[str]:
        """A note for each split that is there and was not drawn by today's recipe, or lacks one of its two files."""
        root, written = self.config.root, []
        for name in self.split_names(wildcards):
            files = [f"data/splits/{name}.{ending}" for ending in ("npz", "json")]
            there = any((root / file).is_file() for file in files)
            if there and drawn_by(root / files[1]) != self.dependencies.recipe(name):
                written.append(notes.write(root, ["split"], f"data/splits/{name}", files))
        return written

    def split_names(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's splits: SCALE/PAPER/EXPERIMENT/SETTING/seedN."""
        experiment = ExperimentName.parse(wildcards.experiment)
        return [str(experiment.split(wildcards.setting, seed)) for seed in self.seeds]

    def runs(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's runs: SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN."""
        experiment = ExperimentName.parse(wildcards.experiment)
        cells = [experiment.cell(wildcards.setting, method) for method in self.methods or (wildcards.method,)]
        return [str(cell.run(seed)) for cell in cells for seed in self.seeds]

    def trained(self, wildcards: Wildcards) -> list[str]:
        """Those of the job's runs that it is to train: all, or those asked for."""
        names = {run: RunName.parse(run) for run in self.runs(wildcards)}
        return [run for run, name in names.items() if self._is_asked(name.method, name.seed)]

    def cores(self, wildcards: Wildcards) -> int:
        """Cores of a training job: on a CPU one for each run that trains at once, on a GPU one for all of them."""
        at_once = self.config.project.runs_at_once
        return 1 if at_once == "auto" or self.gpus(wildcards) else min(at_once, len(self.trained(wildcards)))

    def gpus(self, wildcards: Wildcards) -> int:
        """GPUs that a training job asks for: 1 if this machine has any, or if the config says so; else 0."""
        device = self.config.project.device
        return int(device == "gpu" or (device == "auto" and _has_gpu()))

    def training_arguments(self, wildcards: Wildcards, threads: int, resources: Any) -> str:
        """The arguments of `reweigh train`: `--at-once auto --time-budget 9m RUN...`.

        Snakemake leaves params that depend on `threads` or `resources` out of its comparison. These decide no result,
        so a job for which only they have changed does not run again.
        """
        options = self.config.project
        at_once = options.runs_at_once if resources.gpu else threads
        budget = ["--time-budget", shlex.quote(options.time_budget)] if options.time_budget else []
        runs = [RunName.parse(run) for run in self.trained(wildcards)] if self.asked else []
        only = [word for run in runs for word in ("--only", run.short)]
        return " ".join(["--at-once", str(at_once), *budget, *only, *self.runs(wildcards)])

    def spec_digest(self, wildcards: Wildcards) -> str:
        """Digest of the resolved specs of the job's runs."""
        return digest([self.dependencies.of(run)["spec"] for run in self.runs(wildcards)])

    def code_digest(self, wildcards: Wildcards) -> str:
        """Digest of the code that the job's runs import: engine, method, loss, model and reader."""
        return digest([self.dependencies.of(run)["code"] for run in self.runs(wildcards)])

    def split_digest(self, wildcards: Wildcards) -> str:
        """Digest of the recipes of the splits that the job's runs train on, with the raw bytes by the manifest."""
        return digest([self.dependencies.of(run)["split"] for run in self.runs(wildcards)])

    def recipe_digest(self, wildcards: Wildcards) -> str:
        """Digest of the recipes of the splits that a job draws."""
        return digest([self.dependencies.recipe(name) for name in self.split_names(wildcards)])


def dataset_of(config: Config, name: ExperimentName) -> str:
    """The data set of an experiment at a scale."""
    experiment = config.experiment(name.paper, name.experiment)
    block = experiment.block(name.scale)
    return (block.dataset if block else None) or experiment.dataset or ""


@functools.cache
def _has_gpu() -> bool:
    from reweigh.training.device import visible_devices

    return bool(visible_devices())
