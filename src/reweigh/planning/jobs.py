"""What the Snakefiles need: the files that each job reads and makes, and digests that decide when it runs again.

Snakemake runs a job again when its params change. So each rule has as params the digests of the *content* that its
result depends on: the resolved spec, the source code that the run imports, the recipe of its split. What Snakemake does
not know, a note says (`notes.py`). File times decide nothing. Every function here that takes `wildcards` is an input,
params or resource function of a rule.

Three wildcards name a run's files: `experiment` (SCALE/PAPER/EXPERIMENT, as in `config.names.ExperimentName`),
`setting` and `method`. What one job trains, or whose splits it draws, is in `batches.py`.
"""

import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from reweigh.artifacts import receipt
from reweigh.config.grid import Config
from reweigh.config.loading import declare_checked, load
from reweigh.config.names import ARTIFACT_ENDINGS, ArtifactName, ExperimentName
from reweigh.config.specs import OF_PAPERS, SCALES
from reweigh.digest import digest
from reweigh.errors import ReweighError
from reweigh.planning import attempts, kinds_of_rules, notes
from reweigh.planning.batches import SeedBatch, Wildcards, dataset_of
from reweigh.records import own_code, record
from reweigh.records.staleness import Dependencies
from reweigh.terminal import printable
from reweigh.training import variables

Basis = Callable[[receipt.Records], dict[str, Any]]  # what files are made from, as `artifacts.receipt` says it


@dataclass(frozen=True)
class Flow:
    """The workflow of one call of Snakemake: the config, changed by `--config`. Get it from `flow`.

    `role` is that of this process: `main`, or in a job that the main process submitted (`submitted`) or started.
    """

    config: Config
    role: Literal["main", "submitted", "started"] = "main"
    asked: tuple[str, ...] = ()  # the runs that a call is to train, if it was asked for records and for nothing else

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """What the runs depend on; one object for all rules, so that each run is looked at once."""
        return Dependencies(self.config)

    @property
    def scale(self) -> str:
        return self.config.project.scale

    @property
    def papers(self) -> list[str]:
        """The papers that a call can make something of: those of config.yaml, and data sets of a user's own."""
        return [*self.config.project.papers, *self.config.papers_at("local")]

    def target_of(self, paper: str) -> str:
        """The name of the target that makes all artifacts of a paper; that of a data set cannot be a rule's."""
        return f"local_{paper}" if self.config.paper(paper).only_at else paper

    def scale_of(self, paper: str) -> str:
        """The scale at which a call makes a paper's artifacts: the configured one, if the paper has others at all."""
        return self.config.paper(paper).only_at or self.scale

    # --- targets ---

    def everything(self) -> list[str]:
        """What a bare `snakemake` makes: all artifacts, all records of the grid, and the scorecard."""
        papers = self.config.papers_at(self.scale)
        cells = [cell for paper in papers for cell in self.config.cells(self.scale, paper)]
        made = [path for one in self.artifacts() if one.paper in papers for path in one.files(self.scale)]
        made += [record.record_path(run).as_posix() for run in self.needed(cells)]
        return made if self.scale == "local" else [*made, *self.scorecard()]

    def of_paper(self, paper: str) -> list[str]:
        """All artifacts of one paper at the configured scale."""
        scale = self.scale_of(paper)
        return [path for artifact in self.artifacts() if artifact.paper == paper for path in artifact.files(scale)]

    def scorecard(self, scale: str | None = None) -> list[str]:
        """The files of the scorecard of a scale; without one, of the configured scale."""
        return [f"results/{scale or self.scale}/scorecard.{kind}" for kind in ("csv", "md", "html", "json")]

    def audit_report(self) -> str:
        """The report of the audit of the configured scale."""
        return f"results/{self.scale}/audit.json"

    def artifacts(self) -> list["ArtifactJob"]:
        """Every artifact of the configured papers, and of a user's own data sets."""
        return [ArtifactJob(self, paper, name) for paper in self.papers for name in self.config.paper(paper).artifacts]

    # --- seed batches ---

    def split_batches(self) -> list[SeedBatch]:
        """The distinct seed batches over all scales and experiments, each with the experiments whose seeds it has."""
        experiments_of: dict[tuple[int, ...], list[ExperimentName]] = {}
        for experiment in self._experiments():
            for seeds in self._seeds(experiment):
                experiments_of.setdefault(seeds, []).append(experiment)
        return [SeedBatch(self.dependencies, seeds, tuple(names)) for seeds, names in sorted(experiments_of.items())]

    def training_batches(self) -> list[SeedBatch]:
        """The seed batches of training: of one method each, and, at the scales of `by_setting`, of all of a setting.

        A method that an experiment has beyond its grid, as an extension, is trained by a job of the first kind.
        """
        experiments_of: dict[tuple[tuple[str, ...], tuple[int, ...]], list[ExperimentName]] = {}
        for experiment in self._experiments():
            if experiment.scale in self.by_setting:
                methods = tuple(self.config.trained(*experiment))
                for seeds in self._seeds(experiment) if len(methods) > 1 else ():
                    experiments_of.setdefault((methods, seeds), []).append(experiment)
        single = [replace(batch, by_setting=self.by_setting) for batch in self.split_batches()]
        batches = [
            SeedBatch(self.dependencies, seeds, tuple(names), methods)
            for (methods, seeds), names in sorted(experiments_of.items())
        ]
        return [batch.only(self.asked) for batch in (*single, *batches)]

    @property
    def by_setting(self) -> tuple[str, ...]:
        """The scales at which one job trains all methods of a setting."""
        jobs = self.config.project.jobs
        return tuple(scale for scale in SCALES if jobs == "setting" or (jobs == "auto" and scale != "paper"))

    def _seeds(self, experiment: ExperimentName) -> list[tuple[int, ...]]:
        """The seeds of an experiment, cut into batches."""
        size, seeds = self.config.project.seeds_per_job, self.config.seeds(*experiment)
        return [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]

    def _experiments(self) -> list[ExperimentName]:
        return [
            ExperimentName(scale, paper, name)
            for paper in self.papers
            for name in self.config.paper(paper).experiments
            for scale in SCALES
            if self.config.has(scale, paper, name)
        ]

    # --- raw data ---

    def datasets(self) -> str:
        """A pattern that matches every data set that a run reads and that is fetched."""
        fetched = [name for name in self._experiments() if not self.config.paper(name.paper).only_at]
        names = {dataset_of(self.config, name) for name in fetched}
        return "|".join(re.escape(name) for name in sorted(names))

    def content_digest(self, wildcards: Wildcards) -> str:
        """Digest of the bytes that the manifest lists for a data set."""
        from reweigh.data.manifest import content_digest

        return content_digest(wildcards.dataset)

    def source_notes(self, wildcards: Wildcards) -> list[str]:
        """A note (see `notes`) if a data set was fetched and its raw files are not what the manifest lists."""
        name, root = f"data/raw/{wildcards.dataset}", self.config.root
        if not (root / name / "SOURCE.json").is_file():
            return []
        reasons = notes.since_fetch(root / name, root / "data/manifest.yaml")
        return [notes.write(root, reasons, name, [f"{name}/SOURCE.json"])] if reasons else []

    # --- records for artifacts and scorecard ---

    def needed(self, cells: Iterable[str]) -> list[str]:
        """The runs of some cells. With `--config missing=skip`, only of cells whose records are all there."""
        kept = [cell for cell in cells if self.config.project.missing == "train" or self.is_complete(cell)]
        return [run for cell in kept for run in self.config.runs_of(cell)]

    def is_complete(self, cell: str) -> bool:
        """Whether every run of a cell has a record."""
        return all((self.config.root / record.record_path(run)).is_file() for run in self.config.runs_of(cell))

    def records(self, runs: list[str], reasons: Sequence[str]) -> list[str]:
        """The records of some runs as inputs of a job, whose files are stale for some `reasons`, or for none.

        If the job has nothing to do they are `ancient`: their times decide nothing. Otherwise they are not, as
        Snakemake does not start a job again after one of its `ancient` inputs.
        """
        paths = [record.record_path(run).as_posix() for run in runs]
        self.no_later(paths)
        if reasons or not all(map(self.dependencies.current, runs)):
            return paths
        from snakemake.io import ancient

        return [ancient(path) for path in paths]

    def no_later(self, paths: Iterable[str]) -> None:
        """Give inputs from the future today's time: after a job Snakemake compares even those that are `ancient`."""
        notes.no_later(map(self.config.root.joinpath, paths), time.time())

    def reasons(self, stem: str, needed: list[str], shown: list[str], basis: Basis) -> list[str]:
        """Why the files `stem.*` are stale (see `notes`), with `missing` if a run that they need has no record.

        `basis` says of the records of the runs that are `shown`, as far as they exist, what is made of them today.
        Of files that are not there nothing is said: Snakemake sees for itself that they are missing.
        """
        if stem not in self._reasons:
            self._reasons[stem] = []
            if any(self.config.root.glob(f"{stem}.*")):
                digests = {run: found for run in shown if (found := self.dependencies.own_digest(run))}
                today = basis({run: {"digest": found} for run, found in digests.items()})
                gone = ["missing"] if not all(map(self.dependencies.recorded, needed)) else []
                self._reasons[stem] = [*gone, *notes.since_receipt(self.config.root / stem, today)]
        return self._reasons[stem]

    @functools.cached_property
    def _reasons(self) -> dict[str, list[str]]:
        return {}

    def scored(self, wildcards: Wildcards) -> list[str]:
        """The runs that the scorecard of a scale needs: the whole grid."""
        papers = self.config.project.papers
        return [run for paper in papers for run in self.needed(self.config.cells(wildcards.scale, paper))]

    def scored_records(self, wildcards: Wildcards) -> list[str]:
        """The records that the scorecard of a scale needs."""
        return self.records(self.scored(wildcards), self._stale_scorecard(wildcards))

    def scorecard_notes(self, wildcards: Wildcards) -> list[str]:
        """A note if the scorecard of a scale is not what would be written today."""
        reasons, stem = self._stale_scorecard(wildcards), f"results/{wildcards.scale}/scorecard"
        return [notes.write(self.config.root, reasons, stem, self.scorecard(wildcards.scale))] if reasons else []

    def _stale_scorecard(self, wildcards: Wildcards) -> list[str]:
        config, scale = self.config, wildcards.scale
        runs = [run for paper in config.project.papers for run in config.scored_runs(scale, paper)]
        needed, stem = self.scored(wildcards), f"results/{scale}/scorecard"
        return self.reasons(stem, needed, runs, lambda records: receipt.scorecard_basis(config, runs, records))

    def published(self) -> list[str]:
        """The files of published numbers, and those of the bench by which some are judged, if they are there."""
        found = [one.published for one in map(self.config.paper, self.papers) if one.published]
        needed, root = [one.file for one in found], self.config.root
        files = [file for one in found for file in one.files if file in needed or (root / file).is_file()]
        return list(dict.fromkeys(files))

    def scoring_digest(self, wildcards: Wildcards) -> str:
        """Digest of what the scorecard depends on beside records: code, claims, mapping of published numbers."""
        return receipt.scoring_digest(self.config)

    # --- resources ---

    @property
    def retries(self) -> int:
        """How often a training job that ended too early is started again; it resumes from its checkpoints.

        Twice, for lost machines. With a time budget more often: each start does a part of the work (`attempts` sees to
        it that errors are not repeated so often). A job of Slurm that runs out of time needs none of these, since it
        goes back into the queue. Only the main process starts again: the Snakemakes in a job that was submitted would
        each multiply what the job itself is granted.
        """
        if self.role != "main":
            return 0
        return attempts.STOPPED if self.config.project.time_budget else attempts.LOST

    def training_arguments(self, batch: SeedBatch) -> Callable[..., str]:
        """A params function: the arguments of `reweigh train`, with those that depend on who runs the job.

        A job that has a GPU does not train without one, unless the config says so; one that was submitted goes back
        into Slurm's queue when its time is up.
        """

        def arguments(wildcards: Wildcards, threads: int, resources: Any) -> str:
            gpu = ["--gpu"] if resources.gpu and self.config.project.device != "cpu" else []
            requeue = ["--requeue"] if self.role == "submitted" else []
            return " ".join([*gpu, *requeue, batch.training_arguments(wildcards, threads, resources)])

        return arguments

    def kinds_of_rules(self) -> dict[str, list[str]]:
        """The rules of each kind: each seed batch and each artifact has one of its own."""
        return {
            "train": [f"train_{batch.name}" for batch in self.training_batches()],
            "split": [f"split_{batch.name}" for batch in self.split_batches()],
            "render": [f"render_{artifact.name}" for artifact in self.artifacts()],
        }


@dataclass(frozen=True)
class ArtifactJob:
    """The job that renders one artifact of a paper, as its rule needs it."""

    flow: Flow
    paper: str
    artifact: str

    @property
    def name(self) -> str:
        """The short name of the artifact as a target of Snakemake: `tdr_fig5`."""
        return f"{self.flow.target_of(self.paper)}_{self.artifact}"

    @property
    def scales(self) -> str:
        """A pattern of the scales that it has."""
        only = self.flow.config.paper(self.paper).only_at
        return only or "|".join(OF_PAPERS)

    @property
    def stem(self) -> str:
        """The path of its files without their endings, with the wildcard `scale`."""
        return ArtifactName("{scale}", self.paper, self.artifact).stem

    @property
    def sources(self) -> list[str]:
        """Its notebook, and the published numbers."""
        return [self._config.notebook, *self.flow.published()]

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
        return self.files(self.flow.scale_of(self.paper))

    def needed(self, wildcards: Wildcards) -> list[str]:
        """The runs whose records it needs; missing ones are trained."""
        return self.flow.needed(self.flow.config.cells_of(wildcards.scale, self.paper, self.artifact))

    def records(self, wildcards: Wildcards) -> list[str]:
        """The records that it needs."""
        self.flow.no_later(self.sources)
        return self.flow.records(self.needed(wildcards), self._stale(wildcards))

    def arguments(self, wildcards: Wildcards, threads: int) -> str:
        """The arguments of `reweigh render`. As they take `threads`, Snakemake leaves them out of its comparison."""
        stem = ArtifactName(wildcards.scale, self.paper, self.artifact).stem
        return f"{stem} --missing {self.flow.config.project.missing}"

    def notes(self, wildcards: Wildcards) -> list[str]:
        """A note if its files are there and are not what would be rendered today."""
        stem, reasons = ArtifactName(wildcards.scale, self.paper, self.artifact).stem, self._stale(wildcards)
        files = self.files(wildcards.scale)
        return [notes.write(self.flow.config.root, reasons, stem, files)] if reasons else []

    def _stale(self, wildcards: Wildcards) -> list[str]:
        config, artifact = self.flow.config, ArtifactName(wildcards.scale, self.paper, self.artifact)
        cells = [cell for extra in (False, True) for cell in config.cells_of(*artifact, optional=extra)]
        shown = [run for cell in cells for run in config.runs_of(cell)]
        return self.flow.reasons(
            artifact.stem,
            self.needed(wildcards),
            shown,
            lambda records: receipt.figure_basis(config, *artifact, records=records),
        )

    def rendering_digest(self, wildcards: Wildcards) -> str:
        """Digest of its code, its entry in the config, and the optional records that exist (they are no inputs)."""
        config = self.flow.config
        optional = config.cells_of(wildcards.scale, self.paper, self.artifact, optional=True)
        runs = [run for cell in optional for run in config.runs_of(cell)]
        extra = [content for run in runs if (content := self.flow.dependencies.content(run))]
        return digest([receipt.rendering_digest(config, wildcards.scale, self.paper, self.artifact), extra])


def flow(overrides: dict[str, Any], root: str | Path = ".", asked: tuple[str, ...] = (), workflow: Any = None) -> Flow:
    """The workflow of the project in `root`; `overrides` is Snakemake's `config`: config.yaml, changed by --config.

    `asked` names the runs of a call that wants their records and nothing else: the others of their jobs are left out.
    `workflow` is Snakemake's own object: it says whose process this is, and what `--set-resources` says goes into it.

    Puts the folder of this Python first on PATH, so that shell commands find `reweigh` in an environment that is not
    activated. The jobs do not check again the config that is checked here, unless it changes meanwhile.
    """
    role: Literal["main", "submitted", "started"] = "main"
    if workflow is not None and not workflow.is_main_process:
        role = "submitted" if workflow.remote_exec else "started"
    try:
        own_code.check(root)
        variables.check()
        made = Flow(load(root).with_options(**overrides), role, asked)
    except ReweighError as error:
        raise SystemExit(f"reweigh: {printable(str(error))}") from None  # Snakemake would print a traceback
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    made.config.project.apply()
    declare_checked(root)
    if workflow is not None:
        kinds_of_rules.spread(workflow, made.kinds_of_rules())
    return made
