"""Records as tables: the runs of some cells, one row a run, and the material that an artifact is rendered from.

A run without a record has no row; nothing stands in for it. The config says which seeds a cell has, so a record that an
older config left behind is not counted.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reweigh import metrics, stats
from reweigh.analysis.by_cell import runs_of
from reweigh.analysis.degenerate import ONE_CLASS, lost
from reweigh.analysis.published import published
from reweigh.config.files import CONFIG
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.models import Artifact, Experiment
from reweigh.config.names import CellName, RunName
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.records import record
from reweigh.records.lineage import value_of

METRICS = (
    "test_accuracy", "balanced_accuracy", "minority_recall", "minority_precision", "best_epoch_test_accuracy",
    "validation_accuracy", *metrics.DERIVED,
)  # fmt: skip
COSTS = ("seconds", "gpu_seconds", "peak_bytes", "steps")


def find_root(start: str | Path = ".") -> Path:
    """The project's root: `start` or the nearest folder above it that holds config/config.yaml."""
    here = Path(start).resolve()
    for folder in (here, *here.parents):
        if (folder / CONFIG).is_file():
            return folder
    raise ConfigError(f"no {CONFIG} in {here} or above it; run this in the project's own folder")


# --- runs ------------------------------------------------------------------------------------------------------------


def records_of(runs: Iterable[str], root: str | Path = ".") -> dict[str, dict[str, Any]]:
    """The records of those runs that have one, by run. Raises RecordError for one that was altered."""
    records = {}
    for run in runs:
        path = record.record_path(run, root)
        if path.is_file():
            records[run] = _read(path, path.stat().st_mtime_ns, path.stat().st_size)
    return records


@functools.lru_cache(maxsize=8192)
def _read(path: Path, changed: int, size: int) -> dict[str, Any]:
    return record.read(path)


def table(records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row a run: the parts of its name, status, metrics (fractions), costs, device and digest.

    `lost` says why a run decides nothing (see `degenerate.lost`), and is empty for others. A run that
    diverged is a result without a score: it has no metrics, whatever an old record states.
    """
    rows = [
        {
            "run": run,
            **RunName.parse(run)._asdict(),
            "status": body["status"],
            **{name: known.get(name) for name in METRICS},
            **{name: body.get(name) for name in COSTS},
            "device": body["device"]["name"],
            "packed": body["device"]["kind"] == "cuda" and body["device"]["runs_at_once"] > 1,
            "runs_at_once": body["device"]["runs_at_once"],
            "lost": (why := lost(body)),
            "collapsed": why == ONE_CLASS,
            "digest": body["digest"],
        }
        for run, body in records.items()
        for known in [metrics.of_record(body)]
    ]
    columns = ["run", *RunName._fields, "status", *METRICS, *COSTS, "device", "packed", "runs_at_once", "lost",
               "collapsed", "digest"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype(
        {**dict.fromkeys(METRICS, float), "packed": bool, "collapsed": bool}
    )


def load_cells(config: Config, cells: Iterable[str]) -> pd.DataFrame:
    """The runs of `cells` that have a record, as a table (see `table`)."""
    return table(records_of([run for cell in cells for run in config.runs_of(cell)], config.root))


def curve(body: dict[str, Any], metric: str) -> pd.DataFrame:
    """One run's curve: columns epoch, minutes (of training, evaluation left out) and the metric."""
    curves = body["curves"]
    minutes = np.asarray(curves["train_seconds"], float) / 60
    return pd.DataFrame({"epoch": curves["epoch"], "minutes": minutes, metric: np.asarray(curves[metric], float)})


def logged(body: dict[str, Any], *names: str, root: str | Path = ".") -> list[np.ndarray] | None:
    """Arrays of these names that one run left beside its record; None if it left not all of them.

    Raises RecordError if the file is missing or altered.
    """
    trace = record.trace_path(record.record_path(body["run"], root), body)
    if trace is None or not set(names) <= set(body["trace"]["arrays"]):
        return None
    with np.load(trace, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def class_weights(body: dict[str, Any], root: str | Path = ".") -> np.ndarray | None:
    """The class weights of one run at every outer step, float64 (steps, classes); None if it logged none."""
    arrays = logged(body, "class_weights", root=root)
    return arrays[0].astype(float) if arrays else None


def majority_and_minority_weights(body: dict[str, Any], root: str | Path = ".") -> pd.DataFrame | None:
    """Mean weights of the examples of frequent and rare classes in each epoch of one run; None if it logged none.

    Columns epoch (from 1), majority (labels below C/2), minority (the others). Weights are in units of plain SGD's:
    1 is the weight 1/N that every example has there.
    """
    arrays = logged(body, "mean_weights", "weighted_examples", root=root)
    if not arrays:
        return None
    means, counts = (array.astype(float) for array in arrays)  # (epochs, C)
    sums, half = means * counts, means.shape[1] / 2
    sides = {"majority": np.arange(means.shape[1]) < half, "minority": np.arange(means.shape[1]) >= half}
    with np.errstate(invalid="ignore"):
        averages = {name: sums[:, side].sum(1) / counts[:, side].sum(1) for name, side in sides.items()}
    return pd.DataFrame({"epoch": np.arange(1, len(means) + 1), **averages})


def inverse_frequency_correlation(weights: np.ndarray, counts: Iterable[float]) -> tuple[float | None, float | None]:
    """Pearson's and Spearman's correlation of time-averaged class weights (steps, classes) with 1 / class sizes.

    Of the classes that exist: noise on a tail may leave one without an example. None where one side does not vary.
    """
    sizes = np.asarray(list(counts), float)
    average, inverse = weights.mean(0)[sizes > 0], 1 / sizes[sizes > 0]
    return stats.pearson(average, inverse), stats.spearman(average, inverse)


# --- the names of several runs in one field of a csv -----------------------------------------------------------------


def join_runs(runs: Iterable[str]) -> str:
    """The names of runs in one text: seeds of a cell in braces, as a shell expands them, and a space between cells.

    >>> join_runs(["quick/tdr/adult/sex/tdr/seed0", "quick/tdr/adult/sex/tdr/seed1", "quick/tdr/adult/sex/er/seed0"])
    'quick/tdr/adult/sex/tdr/seed{0,1} quick/tdr/adult/sex/er/seed0'
    """
    seeds_of: dict[CellName, list[int]] = {}
    for run in map(RunName.parse, runs):
        seeds_of.setdefault(run.cell, []).append(run.seed)
    return " ".join(
        str(cell.run(seeds[0])) if len(seeds) == 1 else f"{cell}/seed{{{','.join(map(str, seeds))}}}"
        for cell, seeds in seeds_of.items()
    )


def expand_runs(text: str) -> list[str]:
    """The runs of a text that `join_runs` made. Raises NotAName, a ConfigError, for any other text.

    >>> expand_runs("quick/tdr/adult/sex/tdr/seed{0,1}")
    ['quick/tdr/adult/sex/tdr/seed0', 'quick/tdr/adult/sex/tdr/seed1']
    """
    return list(_expanded(text))


@functools.lru_cache(maxsize=65536)  # an audit asks several times for the runs of each line
def _expanded(text: str) -> tuple[str, ...]:
    runs: list[RunName] = []
    for word in text.split():
        if several := re.fullmatch(r"(.+)/seed\{(\d+(?:,\d+)+)\}", word):
            cell = CellName.parse(several[1])
            runs += [cell.run(int(seed)) for seed in several[2].split(",")]
        else:
            runs.append(RunName.parse(word))
    return tuple(map(str, runs))


def fingerprint(digests: Iterable[str]) -> str:
    """A short digest of the records that feed a number: it changes when any of them does."""
    return digest(list(digests))[:12]


# --- artifacts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """All that one artifact is rendered from. `runs` has a row for each run with a record, needed or optional."""

    config: Config
    scale: str
    paper: str
    name: str
    artifact: Artifact
    runs: pd.DataFrame = field(repr=False)
    records: dict[str, dict[str, Any]] = field(repr=False)
    published: pd.DataFrame = field(repr=False)

    @property
    def experiments(self) -> list[str]:
        """The experiments that it reads, each once, in its own order."""
        return list(dict.fromkeys(reads.experiment for reads in self.artifact.reads))

    @property
    def trains(self) -> bool:
        """Whether it shows any run."""
        return any(reads.methods or reads.optional for reads in self.artifact.reads)

    def experiment(self, name: str) -> Experiment:
        return self.config.experiment(self.paper, name)

    def settings(self, experiment: str) -> list[str]:
        """The settings of an experiment that it shows, in the paper's order, whether or not this scale has them."""
        return self._chosen(experiment, "settings", list(self.experiment(experiment).settings))

    def methods(self, experiment: str, setting: str | None = None) -> list[str]:
        """The methods that it must show, whether or not they were run, then the optional ones that have records.

        Where that is none, all optional ones: the artifact then says that they were not run.
        """
        sources = [reads for reads in self.artifact.reads if reads.experiment == experiment]
        needed = [method for reads in sources for method in reads.methods]
        optional = [method for reads in sources for method in reads.optional]
        rows = self.runs[self.runs["experiment"] == experiment]
        if setting is not None:
            rows = rows[rows["setting"] == setting]
        recorded = set(rows["method"])
        shown = [*needed, *(method for method in optional if method in recorded)]
        return list(dict.fromkeys(shown or optional))

    def left_out(self, experiment: str, method: str) -> bool:
        """Whether this scale does without a method, and nobody has run it there all the same."""
        if self.scale == self.config.paper(self.paper).whole:
            return False
        home = self.config.trained_in(self.paper, experiment, method)
        recorded = set(self.runs[self.runs["experiment"] == home]["method"])
        return method not in recorded and method not in self.config.methods_of(self.scale, self.paper, home)

    def why_empty(self, experiment: str) -> str:
        """What a panel without any run says: that it is for another scale, or that nobody has run it yet."""
        return "not run" if self.config.has(self.scale, self.paper, experiment) else outside(self.scale)

    def is_outside(self, experiment: str, setting: str) -> bool:
        """Whether the scale does without a setting of an experiment that can be run."""
        if self.experiment(experiment).status != "ready":
            return False
        return setting not in self.config.settings_of(self.scale, self.paper, experiment)

    def of(self, experiment: str, setting: str, method: str) -> pd.DataFrame:
        """The runs of one cell, or those that stand for it (`Config.trained_in`)."""
        return runs_of(self.runs, self.config.trained_in(self.paper, experiment, method), setting, method)

    def with_metric(self, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Some runs with a column of a metric; what only curves have, such as the loss, is that of the last epoch."""
        if metric in runs:
            return runs
        values = [value_of(self.records[run], metric) for run in runs["run"]]
        return runs.assign(**{metric: pd.Series(values, runs.index, dtype=float)})

    def value(self, experiment: str, setting: str) -> Any:
        """The value of a setting in the paper's own terms."""
        return self.experiment(experiment).settings[setting].value

    def label(self, experiment: str, setting: str) -> str:
        """The text on the axis for a setting."""
        entry = self.experiment(experiment).settings[setting]
        return entry.label or (entry.value if isinstance(entry.value, str) else f"{entry.value:g}")

    def title(self, method: str) -> str:
        """A method's name as figures write it."""
        return self.config.paper(self.paper).methods[method].title

    def cuts(self) -> list[str]:
        """What this scale leaves out of the experiments: of all of them, then of single ones after their names."""
        by_cut: dict[str, list[str]] = {}
        for name in self.experiments:
            if self.config.has(self.scale, self.paper, name):
                by_cut.setdefault(self.config.cut(self.scale, self.paper, name), []).append(name)
        parts = {cut: cut.split(", ") for cut in by_cut}
        common = [part for part in next(iter(parts.values()), []) if all(part in of for of in parts.values())]
        own = {cut: ", ".join(part for part in of if part not in common) for cut, of in parts.items()}
        texts = [
            ", ".join(common),
            *(f"{', '.join(names)}: {own[cut]}" * bool(own[cut]) for cut, names in by_cut.items()),
        ]
        return list(filter(None, texts))

    def why_not(self, experiment: str, setting: str, method: str) -> str:
        """Why a cell has no records."""
        return why_not(self.config, self.scale, self.paper, experiment, setting, method)

    def published_value(
        self, experiment: str, setting: str, method: str, metric: str
    ) -> tuple[float | None, float | None]:
        """The paper's mean and sd of one cell; None where it gives none."""
        row = self._published.get((experiment, setting, method, metric))
        if row is None:
            return None, None
        mean, sd = row["mean"], row["std"]
        return (None if pd.isna(mean) else float(mean)), (None if pd.isna(sd) else float(sd))

    @property
    def stated(self) -> pd.DataFrame:
        """The published numbers of the paper's table of the same name; without such a table, all of the paper's."""
        of_table = self.published[self.published["table_or_figure"].str.lower() == self.name]
        return self.published if of_table.empty else of_table

    def excluded_because(self, experiment: str, setting: str, method: str, metric: str) -> str:
        """Why the paper's number of a cell is not judged; empty if it is."""
        row = self._published.get((experiment, setting, method, metric))
        return "" if row is None else row["excluded"] or ""

    def row_in_paper(self, experiment: str, setting: str, method: str, metric: str) -> bool:
        """Whether the paper lists a cell, with a number or without."""
        return (experiment, setting, method, metric) in self._published

    @functools.cached_property
    def _published(self) -> dict[tuple[str, ...], dict[Any, Any]]:
        """The first published number of each cell and metric."""
        columns = ("experiment", "setting_name", "method_name", "metric")
        rows = self.published.to_dict("records")
        return {tuple(row[name] for name in columns): row for row in reversed(rows)}

    def _chosen(self, experiment: str, key: str, names: list[str]) -> list[str]:
        choices = [getattr(reads, key) for reads in self.artifact.reads if reads.experiment == experiment]
        return [name for name in names if any(chosen is None or name in chosen for chosen in choices)]


NEVER = "not part of the paper's protocol"


def outside(scale: str) -> str:
    """What is said of a cell that a scale leaves out."""
    return f"not part of scale {scale}"


def why_not(config: Config, scale: str, paper: str, experiment: str, setting: str, method: str) -> str:
    """Why a cell has no records."""
    entry = config.experiment(paper, experiment)
    if reason := config.placeholder(f"{scale}/{paper}/{experiment}/{setting}/{method}/seed0"):
        return f"a placeholder, not the paper's method: {reason}"
    if entry.status != "ready":
        return entry.reason or "not run"
    if setting not in config.settings_of(scale, paper, experiment):
        return outside(scale)
    if not entry.has(setting, method):
        return NEVER
    if scale != config.paper(paper).whole and method not in config.methods_of(scale, paper, experiment):
        return outside(scale)
    return "not trained yet"


def of_artifact(scale: str, paper: str, artifact: str, root: str | Path | None = None) -> Material:
    """What an artifact is rendered from at a scale. Without `root`, the project around the current folder."""
    config = load(find_root() if root is None else root)
    return material_of(config, scale, paper, artifact)


def material_of(
    config: Config, scale: str, paper: str, artifact: str, known: Mapping[str, dict[str, Any]] | None = None
) -> Material:
    """The same by a config that is loaded, and by records (by run) if they are `known`; else they are read."""
    cells = [*config.cells_of(scale, paper, artifact), *config.cells_of(scale, paper, artifact, optional=True)]
    runs = [run for cell in cells for run in config.runs_of(cell)]
    records = records_of(runs, config.root) if known is None else {run: known[run] for run in runs if run in known}
    return Material(
        config=config,
        scale=scale,
        paper=paper,
        name=artifact,
        artifact=config.artifact(paper, artifact),
        runs=table(records),
        records=records,
        published=published(config, paper),
    )
