"""What the Snakefiles ask: which files a step reads and makes, and the digests that say when it must run again.

Snakemake re-runs a job when its params change. So each rule carries, as params, digests of the *content* that its
result depends on: the resolved spec, the source code that the run imports, the recipe of its split. Times of files
decide nothing. Every function here that takes `wildcards` is an input, params or resource function of a rule.
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
from reweigh.artifacts.render import ENDINGS
from reweigh.config.grid import Config, load
from reweigh.config.specs import SCALES
from reweigh.digest import digest, file_digest
from reweigh.errors import ReweighError
from reweigh.records import record
from reweigh.records.staleness import Dependencies, drawn_by

Wildcards = Any  # Snakemake's object with one attribute a wildcard


@dataclass(frozen=True)
class Flow:
    """One call of Snakemake: the config with what `--config` changed. Made by `flow`."""

    config: Config

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """What the runs depend on; one object, so that each is looked at once."""
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
        return [*(path for one in self.artifacts() for path in one.made(self.scale)), *self.scorecard()]

    def of_paper(self, paper: str) -> list[str]:
        """All artifacts of one paper at the configured scale."""
        return [path for one in self.artifacts() if one.paper == paper for path in one.made(self.scale)]

    def scorecard(self) -> list[str]:
        return [f"results/{self.scale}/scorecard.{kind}" for kind in ("csv", "md", "html", "json")]

    def audit(self) -> str:
        """The report of the audit of the configured scale."""
        return f"results/{self.scale}/audit.json"

    def audited(self) -> list[str]:
        """What it looks at: artifacts and scorecard, and with them all records."""
        return self.everything()

    def artifacts(self) -> list["Drawn"]:
        """Every artifact of the configured papers."""
        return [Drawn(self, paper, name) for paper in self.papers for name in self.config.paper(paper).artifacts]

    # --- packs of seeds ---

    def packs(self) -> list["Pack"]:
        """The distinct packs of seeds that one training process takes, over all scales and experiments."""
        size = self.config.project.seeds_per_job
        found: dict[tuple[int, ...], list[str]] = {}
        for protocol in self._protocols():
            seeds = self.config.seeds(*protocol.split("/"))
            for start in range(0, len(seeds), size):
                found.setdefault(tuple(seeds[start : start + size]), []).append(protocol)
        return [Pack(self.dependencies, seeds, tuple(protocols)) for seeds, protocols in sorted(found.items())]

    def _protocols(self) -> list[str]:
        return [
            f"{scale}/{paper}/{name}"
            for paper in self.papers
            for name, one in self.config.paper(paper).experiments.items()
            for scale in SCALES
            if scale == "paper" or scale in one.scales
        ]

    # --- raw data ---

    def datasets(self) -> str:
        """Every data set that a run reads, as alternatives of a wildcard's pattern."""
        names = set()
        for protocol in self._protocols():
            names.add(_dataset(self.config, protocol))
        return "|".join(re.escape(name) for name in sorted(names))

    def content_digest(self, wildcards: Wildcards) -> str:
        """What the manifest promises of a data set's bytes."""
        from reweigh.data.manifest import content_digest

        return content_digest(wildcards.dataset)

    # --- records for artifacts and scorecard ---

    def records_of(self, cells: Iterable[str]) -> list[str]:
        """The records of some cells. With `--config missing=skip`, only of cells that have them all already."""
        kept = [cell for cell in cells if self.config.project.missing == "train" or self.is_complete(cell)]
        return [record.record_path(run).as_posix() for cell in kept for run in self.config.runs_of(cell)]

    def is_complete(self, cell: str) -> bool:
        """Whether every run of a cell has left a record."""
        return all((self.config.root / record.record_path(run)).is_file() for run in self.config.runs_of(cell))

    def scored_records(self, wildcards: Wildcards) -> list[str]:
        """The records that the scorecard of a scale needs: the whole grid."""
        return [path for paper in self.papers for path in self.records_of(self.config.cells(wildcards.scale, paper))]

    def published(self) -> list[str]:
        """The files of published numbers."""
        papers = [self.config.paper(name) for name in self.papers]
        return [paper.published.file for paper in papers if paper.published]

    def scoring_digest(self, wildcards: Wildcards) -> str:
        """Digest of how the scorecard is made: its code, the claims and the mapping of published numbers."""
        return digest([receipt.scoring_digest(self.config), self._other_records(wildcards)])

    def _other_records(self, wildcards: Wildcards) -> list[str]:
        """Digests of the records of a scale that are there though the grid does not ask for them (extensions)."""
        root, asked = self.config.root, set(self.scored_records(wildcards))
        found = sorted((root / "results" / wildcards.scale).glob("*/*/*/*/seed*.json"))
        return [file_digest(path) for path in found if path.relative_to(root).as_posix() not in asked]

    # --- resources ---

    @property
    def retries(self) -> int:
        """How often a training job that ended too early is started again; it goes on from its checkpoints.

        Without a time budget a few times, for lost machines. With one, each time is a part of the work.
        """
        return 30 if self.config.project.time_budget else 2

    def cores(self, wildcards: Wildcards) -> int:
        """Cores of a training job: one for each run that trains at once on a CPU; on a GPU one feeds them all."""
        asked = self.config.project.runs_at_once
        return 1 if asked == "auto" or self.gpus(wildcards) else min(asked, self.config.project.seeds_per_job)

    def gpus(self, wildcards: Wildcards) -> int:
        """GPUs that a training job asks for: 1 where there are any (or the config says so), else 0."""
        wanted = self.config.project.device
        return int(wanted == "gpu" or (wanted == "auto" and _has_gpu()))


@dataclass(frozen=True)
class Pack:
    """Seeds that are drawn, and trained, by one job. Its patterns match the protocols whose seeds are packed so."""

    dependencies: Dependencies
    seeds: tuple[int, ...]
    protocols: tuple[str, ...]

    @property
    def config(self) -> Config:
        return self.dependencies.config

    @property
    def name(self) -> str:
        return f"seeds_{self.seeds[0]}_to_{self.seeds[-1]}" if len(self.seeds) > 1 else f"seed_{self.seeds[0]}"

    @property
    def pattern(self) -> str:
        """The wildcard `protocol`: SCALE/PAPER/EXPERIMENT."""
        return "|".join(re.escape(protocol) for protocol in self.protocols)

    @property
    def records(self) -> list[str]:
        return [f"results/{{protocol}}/{{setting}}/{{method}}/seed{seed}.json" for seed in self.seeds]

    @property
    def splits(self) -> list[str]:
        return [f"data/splits/{{protocol}}/{{setting}}/seed{seed}.npz" for seed in self.seeds]

    @property
    def split_reports(self) -> list[str]:
        return [f"data/splits/{{protocol}}/{{setting}}/seed{seed}.json" for seed in self.seeds]

    # Inputs are named only while they are needed. A raw file or a split that is made later than a finished record then
    # makes nothing stale, and a missing one is not made for it. `ancient` would do that too, but Snakemake does not ask
    # for the params of a job behind an `ancient` input that is about to be made again, and would miss a real change.

    def training_inputs(self, wildcards: Wildcards) -> list[str]:
        """The splits and the raw data that training reads; nothing if every record is there and current."""
        if all(self.dependencies.then(run) for run in self.runs(wildcards)) and not self.stale(wildcards):
            return []
        return [*(self._filled(path, wildcards) for path in self.splits), self._receipt(wildcards)]

    def drawing_inputs(self, wildcards: Wildcards) -> list[str]:
        """The raw data that splits are drawn from; nothing if every split is there and drawn as it would be today."""
        names = [self._filled(path, wildcards) for path in self.split_reports]
        recipes = [self.dependencies.recipe(name) for name in self.split_names(wildcards)]
        found = [drawn_by(self.config.root / name) for name in names]
        return [] if found == recipes else [self._receipt(wildcards)]

    def _receipt(self, wildcards: Wildcards) -> str:
        return f"data/raw/{_dataset(self.config, wildcards.protocol)}/SOURCE.json"

    def _filled(self, pattern: str, wildcards: Wildcards) -> str:
        return pattern.format(protocol=wildcards.protocol, setting=wildcards.setting)

    def stale(self, wildcards: Wildcards) -> list[str]:
        """A note, newer than the record, for each record that is there but stale by its own digests; its path says why.

        Snakemake remembers the params of jobs that it ran itself in this folder. A record that came with a clone, or
        from a machine without Snakemake, says itself what it was made from; only a newer input makes Snakemake listen.
        And only one with another content: Snakemake remembers inputs and params of failed jobs as it does of finished
        ones, so that an update that failed would seem done.
        """
        found = []
        for run in self.runs(wildcards):
            if why := self.dependencies.stale(run):
                note = Path(".reweigh/stale", "_and_".join(why), run)
                _write_anew(self.config.root / note)
                found.append(note.as_posix())
        return found

    def split_names(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's splits: SCALE/PAPER/EXPERIMENT/SETTING/seedN."""
        return [f"{wildcards.protocol}/{wildcards.setting}/seed{seed}" for seed in self.seeds]

    def runs(self, wildcards: Wildcards) -> list[str]:
        """The names of the job's runs."""
        cell = f"{wildcards.protocol}/{wildcards.setting}/{wildcards.method}"
        return [f"{cell}/seed{seed}" for seed in self.seeds]

    def training_arguments(self, wildcards: Wildcards, threads: int, resources: Any) -> str:
        """What `reweigh train` is asked: `--at-once auto --time-budget 9m RUN...`.

        Asking for `threads` and `resources` tells Snakemake that this decides no result: a job whose options alone have
        changed does not run again.
        """
        options = self.config.project
        at_once = options.runs_at_once if resources.gpu else threads
        budget = ["--time-budget", shlex.quote(options.time_budget)] if options.time_budget else []
        return " ".join(["--at-once", str(at_once), *budget, *self.runs(wildcards)])

    def spec_digest(self, wildcards: Wildcards) -> str:
        """What is asked for: digest of the resolved specs of the job's runs."""
        return digest([self.dependencies.of(run)["spec"] for run in self.runs(wildcards)])

    def code_digest(self, wildcards: Wildcards) -> str:
        """What is executed: digest of the import closures of the job's method, model, reader and engine."""
        return digest([self.dependencies.of(run)["code"] for run in self.runs(wildcards)])

    def split_digest(self, wildcards: Wildcards) -> str:
        """What is trained on: digest of the recipes of the job's splits, down to the bytes that the manifest has."""
        return digest([self.dependencies.of(run)["split"] for run in self.runs(wildcards)])

    def recipe_digest(self, wildcards: Wildcards) -> str:
        """What is drawn: digest of the recipes of a job that draws splits, not knowing of methods."""
        return digest([self.dependencies.recipe(name) for name in self.split_names(wildcards)])


@dataclass(frozen=True)
class Drawn:
    """An artifact of a paper, as a rule sees it."""

    flow: Flow
    paper: str
    artifact: str

    @property
    def name(self) -> str:
        """Its shorthand on the command line: `tdr_fig5`."""
        return f"{self.paper}_{self.artifact}"

    @property
    def stem(self) -> str:
        """Its files, without their endings."""
        return f"figures/{{scale}}/{self.paper}/{self.artifact}"

    @property
    def notebook(self) -> str:
        return self._config.notebook

    def in_report(self, form: str) -> dict[str, Any]:
        """Where Snakemake's report shows it: its caption (relative to workflow/rules/), category and labels."""
        labels = {"artifact": self.artifact, "scale": "{scale}", "as": form}
        return {"caption": f"../../{self._config.caption}", "category": self.paper, "labels": labels}

    @property
    def _config(self) -> Any:
        return self.flow.config.artifact(self.paper, self.artifact)

    def made(self, scale: str) -> list[str]:
        return [f"{self.stem.format(scale=scale)}.{kind}" for kind in ENDINGS]

    def target(self, wildcards: Wildcards) -> list[str]:
        """Its files at the configured scale."""
        return self.made(self.flow.scale)

    def records(self, wildcards: Wildcards) -> list[str]:
        """The records that it needs; they are trained if they are missing."""
        return self.flow.records_of(self.flow.config.cells_of(wildcards.scale, self.paper, self.artifact))

    def rendering_digest(self, wildcards: Wildcards) -> str:
        """How it is rendered: digest of its code, its entry in the config, and the optional records that exist."""
        config = self.flow.config
        optional = config.cells_of(wildcards.scale, self.paper, self.artifact, optional=True)
        runs = [run for cell in optional for run in config.runs_of(cell)]
        extra = [content for run in runs if (content := self.flow.dependencies.content(run))]
        return digest([receipt.rendering_digest(config, wildcards.scale, self.paper, self.artifact), extra])


def flow(overrides: dict[str, Any], root: str | Path = ".") -> Flow:
    """The workflow of the project in `root`; `overrides` is Snakemake's `config`: config.yaml, changed by --config.

    Shell commands find `reweigh` beside the Python that runs Snakemake, whether or not its environment is activated.
    """
    try:
        made = Flow(load(root).with_options(**overrides))
    except ReweighError as error:
        raise SystemExit(f"reweigh: {error}") from None  # one line; Snakemake would print the files of a traceback
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    made.config.project.apply()
    return made


def _dataset(config: Config, protocol: str) -> str:
    """The data set of an experiment at a scale."""
    scale, paper, name = protocol.split("/")
    one = config.experiment(paper, name)
    block = one.block(scale)
    return (block.dataset if block else None) or one.dataset or ""


@functools.cache
def _write_anew(note: Path) -> None:
    """Write a file, once a process, with a content that it never had."""
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{time.time_ns()}\n")


@functools.cache
def _has_gpu() -> bool:
    from reweigh.training.device import visible_devices

    return bool(visible_devices())
