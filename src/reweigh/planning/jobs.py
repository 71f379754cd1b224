"""What the Snakefiles need: the files that each job reads and makes, and digests that decide when it runs again.

Snakemake runs a job again when its params change. So each rule has as params the digests of the *content* that its
result depends on: the resolved spec, the source code that the run imports, the recipe of its split. File times decide
nothing. Every function here that takes `wildcards` is an input, params or resource function of a rule.

Three wildcards name a run's files: `experiment` (SCALE/PAPER/EXPERIMENT, as in `config.names.ExperimentName`),
`setting` and `method`.
"""

import functools
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh.artifacts import receipt
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import ARTIFACT_ENDINGS, ArtifactName, ExperimentName, seed_part
from reweigh.config.specs import SCALES
from reweigh.digest import digest, file_digest
from reweigh.errors import ReweighError
from reweigh.records import record
from reweigh.records.staleness import Dependencies, drawn_by

Wildcards = Any  # an object of Snakemake with one attribute per wildcard


@dataclass(frozen=True)
class Flow:
    """The workflow of one call of Snakemake: the config, changed by `--config`. Get it from `flow`."""

    config: Config

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """What the runs depend on; one object for all rules, so that each run is looked at once."""
        return Dependencies(self.config)

    @property
    def scale(self) -> str:
        return self.config.project.scale

    @property
    def papers(self) -> list[str]:
        return self.config.project.papers

    # --- targets ---

    def everything(self) -> list[str]:
        """What a bare `snakemake` makes: all artifacts, and the scorecard, which needs every record of the scale."""
        return [*(path for artifact in self.artifacts() for path in artifact.files(self.scale)), *self.scorecard()]

    def of_paper(self, paper: str) -> list[str]:
        """All artifacts of one paper at the configured scale."""
        return [path for artifact in self.artifacts() if artifact.paper == paper for path in artifact.files(self.scale)]

    def scorecard(self) -> list[str]:
        """The files of the scorecard of the configured scale."""
        return [f"results/{self.scale}/scorecard.{kind}" for kind in ("csv", "md", "html", "json")]

    def audit_report(self) -> str:
        """The report of the audit of the configured scale."""
        return f"results/{self.scale}/audit.json"

    def artifacts(self) -> list["ArtifactJob"]:
        """Every artifact of the configured papers."""
        return [ArtifactJob(self, paper, name) for paper in self.papers for name in self.config.paper(paper).artifacts]

    # --- seed batches ---

    def seed_batches(self) -> list["SeedBatch"]:
        """The distinct seed batches over all scales and experiments, each with the experiments whose seeds it has."""
        size = self.config.project.seeds_per_job
        experiments_of: dict[tuple[int, ...], list[ExperimentName]] = {}
        for experiment in self._experiments():
            seeds = self.config.seeds(*experiment)
            for start in range(0, len(seeds), size):
                experiments_of.setdefault(tuple(seeds[start : start + size]), []).append(experiment)
        return [SeedBatch(self.dependencies, seeds, tuple(names)) for seeds, names in sorted(experiments_of.items())]

    def _experiments(self) -> list[ExperimentName]:
        return [
            ExperimentName(scale, paper, name)
            for paper in self.papers
            for name, experiment in self.config.paper(paper).experiments.items()
            for scale in SCALES
            if scale == "paper" or scale in experiment.scales
        ]

    # --- raw data ---

    def datasets(self) -> str:
        """A pattern that matches every data set that a run reads."""
        names = {_dataset(self.config, experiment) for experiment in self._experiments()}
        return "|".join(re.escape(name) for name in sorted(names))

    def content_digest(self, wildcards: Wildcards) -> str:
        """Digest of the bytes that the manifest lists for a data set."""
        from reweigh.data.manifest import content_digest

        return content_digest(wildcards.dataset)

    # --- records for artifacts and scorecard ---

    def records_of(self, cells: Iterable[str]) -> list[str]:
        """The records of some cells. With `--config missing=skip`, only of cells whose records are all there."""
        kept = [cell for cell in cells if self.config.project.missing == "train" or self.is_complete(cell)]
        return [record.record_path(run).as_posix() for cell in kept for run in self.config.runs_of(cell)]

    def is_complete(self, cell: str) -> bool:
        """Whether every run of a cell has a record."""
        return all((self.config.root / record.record_path(run)).is_file() for run in self.config.runs_of(cell))

    def scored_records(self, wildcards: Wildcards) -> list[str]:
        """The records that the scorecard of a scale needs: the whole grid."""
        return [path for paper in self.papers for path in self.records_of(self.config.cells(wildcards.scale, paper))]

    def published(self) -> list[str]:
        """The files of published numbers."""
        papers = [self.config.paper(name) for name in self.papers]
        return [paper.published.file for paper in papers if paper.published]

    def scoring_digest(self, wildcards: Wildcards) -> str:
        """Digest of what the scorecard depends on beside its inputs: code, claims, mapping of published numbers."""
        return digest([receipt.scoring_digest(self.config), self._other_records(wildcards)])

    def _other_records(self, wildcards: Wildcards) -> list[str]:
        """Digests of the records of a scale that exist though the grid does not ask for them (extensions)."""
        root, in_grid = self.config.root, set(self.scored_records(wildcards))
        paths = sorted((root / "results" / wildcards.scale).glob("*/*/*/*/seed*.json"))
        return [file_digest(path) for path in paths if path.relative_to(root).as_posix() not in in_grid]

    # --- resources ---

    @property
    def retries(self) -> int:
        """How often a training job that ended too early is started again; it resumes from its checkpoints.

        Without a time budget a few times, for lost machines. With one, each start does a part of the work.
        """
        return 30 if self.config.project.time_budget else 2

    def cores(self, wildcards: Wildcards) -> int:
        """Cores of a training job: on a CPU one for each run that trains at once, on a GPU one for all of them."""
        at_once = self.config.project.runs_at_once
        return 1 if at_once == "auto" or self.gpus(wildcards) else min(at_once, self.config.project.seeds_per_job)

    def gpus(self, wildcards: Wildcards) -> int:
        """GPUs that a training job asks for: 1 if this machine has any, or if the config says so; else 0."""
        device = self.config.project.device
        return int(device == "gpu" or (device == "auto" and _has_gpu()))


@dataclass(frozen=True)
class SeedBatch:
    """The seeds that one job trains, or whose splits one job draws, and the experiments that have such a batch."""

    dependencies: Dependencies
    seeds: tuple[int, ...]
    experiments: tuple[ExperimentName, ...]

    @property
    def config(self) -> Config:
        return self.dependencies.config

    @property
    def name(self) -> str:
        return f"seeds_{self.seeds[0]}_to_{self.seeds[-1]}" if len(self.seeds) > 1 else f"seed_{self.seeds[0]}"

    @property
    def pattern(self) -> str:
        """What the wildcard `experiment` may be."""
        return "|".join(re.escape(str(experiment)) for experiment in self.experiments)

    @property
    def records(self) -> list[str]:
        """The records, as patterns."""
        return [f"results/{{experiment}}/{{setting}}/{{method}}/{seed_part(seed)}.json" for seed in self.seeds]

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
        if all(self.dependencies.recorded(run) for run in self.runs(wildcards)) and not self.stale_notes(wildcards):
            return []
        return [*(self._filled(path, wildcards) for path in self.splits), self._source_file(wildcards)]

    def split_inputs(self, wildcards: Wildcards) -> list[str]:
        """The raw data that splits are drawn from; nothing if every split is there, drawn by today's recipe."""
        reports = [self._filled(path, wildcards) for path in self.split_reports]
        before = [drawn_by(self.config.root / report) for report in reports]
        today = [self.dependencies.recipe(name) for name in self.split_names(wildcards)]
        return [] if before == today else [self._source_file(wildcards)]

    def _source_file(self, wildcards: Wildcards) -> str:
        return f"data/raw/{_dataset(self.config, ExperimentName.parse(wildcards.experiment))}/SOURCE.json"

    def _filled(self, pattern: str, wildcards: Wildcards) -> str:
        return pattern.format(experiment=wildcards.experiment, setting=wildcards.setting)

    def stale_notes(self, wildcards: Wildcards) -> list[str]:
        """Files newer than the records, one for each record that is stale by its own digests; their paths say why.

        Snakemake knows the params of the jobs that it ran itself in this folder. A record from a clone, or from a
        machine without Snakemake, has its own digests of what it was made from, and only a newer input makes Snakemake
        run its job again. The content must be new too: Snakemake also stores inputs and params of jobs that failed, so
        that a failed update would look done.
        """
        notes = []
        for run in self.runs(wildcards):
            if parts := self.dependencies.stale(run):
                note = Path(".reweigh/stale", "_and_".join(parts), run)
                _write_anew(self.config.root / note)
                notes.append(note.as_posix())
        return notes

    def split_names(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's splits: SCALE/PAPER/EXPERIMENT/SETTING/seedN."""
        experiment = ExperimentName.parse(wildcards.experiment)
        return [str(experiment.split(wildcards.setting, seed)) for seed in self.seeds]

    def runs(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's runs: SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN."""
        cell = ExperimentName.parse(wildcards.experiment).cell(wildcards.setting, wildcards.method)
        return [str(cell.run(seed)) for seed in self.seeds]

    def training_arguments(self, wildcards: Wildcards, threads: int, resources: Any) -> str:
        """The arguments of `reweigh train`: `--at-once auto --time-budget 9m RUN...`.

        Snakemake leaves params that depend on `threads` or `resources` out of its comparison. These decide no result,
        so a job for which only they have changed does not run again.
        """
        options = self.config.project
        at_once = options.runs_at_once if resources.gpu else threads
        budget = ["--time-budget", shlex.quote(options.time_budget)] if options.time_budget else []
        return " ".join(["--at-once", str(at_once), *budget, *self.runs(wildcards)])

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


@dataclass(frozen=True)
class ArtifactJob:
    """The job that renders one artifact of a paper, as its rule needs it."""

    flow: Flow
    paper: str
    artifact: str

    @property
    def name(self) -> str:
        """The short name of the artifact as a target of Snakemake: `tdr_fig5`."""
        return f"{self.paper}_{self.artifact}"

    @property
    def stem(self) -> str:
        """The path of its files without their endings, with the wildcard `scale`."""
        return ArtifactName("{scale}", self.paper, self.artifact).stem

    @property
    def notebook(self) -> str:
        return self._config.notebook

    def in_report(self, form: str) -> dict[str, Any]:
        """Its place in Snakemake's report: caption (a path relative to workflow/rules/), category and labels."""
        labels = {"artifact": self.artifact, "scale": "{scale}", "as": form}
        return {"caption": f"../../{self._config.caption}", "category": self.paper, "labels": labels}

    @property
    def _config(self) -> Any:
        return self.flow.config.artifact(self.paper, self.artifact)

    def files(self, scale: str) -> list[str]:
        """Its files at a scale."""
        stem = ArtifactName(scale, self.paper, self.artifact).stem
        return [f"{stem}.{ending}" for ending in ARTIFACT_ENDINGS]

    def target(self, wildcards: Wildcards) -> list[str]:
        """Its files at the configured scale."""
        return self.files(self.flow.scale)

    def records(self, wildcards: Wildcards) -> list[str]:
        """The records that it needs; missing ones are trained."""
        return self.flow.records_of(self.flow.config.cells_of(wildcards.scale, self.paper, self.artifact))

    def rendering_digest(self, wildcards: Wildcards) -> str:
        """Digest of its code, its entry in the config, and the optional records that exist (they are no inputs)."""
        config = self.flow.config
        optional = config.cells_of(wildcards.scale, self.paper, self.artifact, optional=True)
        runs = [run for cell in optional for run in config.runs_of(cell)]
        extra = [content for run in runs if (content := self.flow.dependencies.content(run))]
        return digest([receipt.rendering_digest(config, wildcards.scale, self.paper, self.artifact), extra])


def flow(overrides: dict[str, Any], root: str | Path = ".") -> Flow:
    """The workflow of the project in `root`; `overrides` is Snakemake's `config`: config.yaml, changed by --config.

    Puts the folder of this Python first on PATH, so that shell commands find `reweigh` in an environment that is not
    activated.
    """
    try:
        workflow = Flow(load(root).with_options(**overrides))
    except ReweighError as error:
        raise SystemExit(f"reweigh: {error}") from None  # one line, without the traceback that Snakemake would print
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    workflow.config.project.apply()
    return workflow


def _dataset(config: Config, name: ExperimentName) -> str:
    """The data set of an experiment at a scale."""
    experiment = config.experiment(name.paper, name.experiment)
    block = experiment.block(name.scale)
    return (block.dataset if block else None) or experiment.dataset or ""


@functools.cache
def _write_anew(note: Path) -> None:
    """Write a file with a content that it never had, once per process."""
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{time.time_ns()}\n")


@functools.cache
def _has_gpu() -> bool:
    from reweigh.training.device import visible_devices

    return bool(visible_devices())
