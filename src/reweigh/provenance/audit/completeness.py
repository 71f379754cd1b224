"""Whether the csv of a figure is complete: a line for everything that it shows, once, from every seed with a record.

The sha256 in a receipt shows that a csv is unaltered, and recomputing its lines that their numbers are right. Neither
notices a cell, a seed or an epoch that was left out, if the receipt was written anew to match. This does.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from reweigh.analysis.rows import DENSITY, SIDES
from reweigh.analysis.searches import BY_EPOCH, ORACLE, RATIOS
from reweigh.analysis.tables import expand_runs
from reweigh.config.grid import Config
from reweigh.config.names import ArtifactName, CellName, RunName
from reweigh.errors import ConfigError
from reweigh.provenance import recompute, recompute_pairs, recompute_settings
from reweigh.provenance.recompute_searches import epochs_of

Line = dict[str, str]
Records = dict[str, dict[str, Any]]
CELL = ("experiment", "setting", "method")
# The columns by which lines differ: no two lines of one csv agree in all of them.
KEY = ("panel", *CELL, "against", "metric", "class", "seed", "epoch", "x", "y", "note")


def incompleteness(
    lines: list[Line], config: Config, artifact: ArtifactName, records: Records, made_from: Collection[str]
) -> str:
    """What the csv of an artifact lacks, or has and should not have; empty if it is complete.

    `records` are the sound ones, by run; `made_from` are the runs that its receipt names.
    """
    try:
        return next(_faults(lines, config, artifact, records, made_from), "")
    except ConfigError as error:
        return f"it names something that does not exist ({error})"


def _faults(
    lines: list[Line], config: Config, artifact: ArtifactName, records: Records, made_from: Collection[str]
) -> Iterator[str]:
    first_with: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(lines, start=2):
        runs = expand_runs(line.get("runs", ""))
        if unnamed := [run for run in runs if run not in made_from]:
            yield f"line {number}: {unnamed[0]} is not among the records of its receipt"
        if all(line.get(part) for part in CELL):
            yield from (f"line {number}: {fault}" for fault in _runs(line, runs, config, artifact, records))
        first = first_with.setdefault(tuple(line.get(part, "") for part in KEY), number)
        if runs and first != number:
            yield f"line {number}: the same as line {first}"
    yield from _cells(lines, config, artifact, records)
    yield from _single_seeds(lines)
    yield from _epochs(lines, records, config.root)


def _cells(lines: list[Line], config: Config, artifact: ArtifactName, records: Records) -> Iterator[str]:
    """Whether all cells that the config says an artifact needs have a line, as far as they have records.

    Pairs of methods are shown only at some settings, and an optional method may have nothing to be paired with. A line
    over many settings names no cell: it stands for all of its methods'.
    """
    paired = "against" in (lines or [{}])[0]
    shown = {_cell(line, config, artifact, column) for line in lines for column in ("method", "against")}
    compared = {(cell.experiment, cell.method) for cell in shown}
    reads = config.artifact(artifact.paper, artifact.name).reads
    over_settings = {line.get("method") for line in lines if recompute_settings.ending(line["metric"])}
    over_settings |= {line.get("against") for line in lines if recompute_settings.ending(line["metric"])}
    needed = {(entry.experiment, method) for entry in reads for method in entry.methods}
    for cell in map(CellName.parse, config.cells_of(*artifact)):
        method = (cell.experiment, cell.method)
        has_line = method in compared or method not in needed if paired else cell in shown
        has_line = has_line or cell.method in over_settings
        if not has_line and any(run in records for run in config.runs_of(str(cell))):
            yield f"it has no line of {cell}"


def _cell(line: Line, config: Config, artifact: ArtifactName, column: str = "method") -> CellName:
    """The cell of a line; of a pair, the side that stands in this column."""
    experiment, setting, method = (line.get(name, "") for name in ("experiment", "setting", column))
    home, shown = config.home(artifact.paper, experiment, method), config.trained_in(artifact.paper, experiment, method)
    return CellName(artifact.scale, home, shown, setting, method)


def _runs(line: Line, runs: list[str], config: Config, artifact: ArtifactName, records: Records) -> Iterator[str]:
    """Whether a line names all runs of its cell that have its metric. Lines of single seeds are not looked at."""
    metric, epoch = line["metric"], recompute.number(line.get("epoch"))
    if metric in (*recompute.FEATURES, *RATIOS, ORACLE) or not recompute_pairs.of_all_seeds(metric) or line.get("seed"):
        return  # of all but the first some runs have no partner, on one device, at every τ or on the same examples
    metric = recompute_pairs.base(metric)
    by_seed = [
        {
            RunName.parse(run).seed: run
            for run in config.runs_of(str(_cell(line, config, artifact, column)))
            if run in records and recompute.feeds(records[run], metric, epoch, config.root)
        }
        for column in ("method", *(["against"] if line.get("against") else []))
    ]
    paired_seeds = set.intersection(*({*side} for side in by_seed))
    expected = {side[seed] for side in by_seed for seed in paired_seeds}
    if left_out := sorted(expected - {*runs}):
        yield f"it leaves out {left_out[0]}"
    if foreign := sorted({*runs} - expected):
        yield f"{foreign[0]} is no run of its cell"


def _single_seeds(lines: list[Line]) -> Iterator[str]:
    """If single seeds have lines beside their mean, each run of the mean must have one, and each line its mean."""
    means: dict[tuple[str, ...], set[str]] = {}
    singles: dict[tuple[str, ...], set[str]] = {}
    for line in lines:
        if line.get("runs") and line["metric"] not in (*recompute.FEATURES, DENSITY):  # no mean of runs
            runs_of = singles if line.get("seed") else means
            key = tuple(line.get(part, "") for part in ("panel", *CELL, "against", "metric", "epoch"))
            runs_of.setdefault(key, set()).update(expand_runs(line["runs"]))
    with_singles = {key[:-1] for key in singles}
    for key in sorted({*means, *singles}):
        runs, single_runs = means.get(key, set()), singles.get(key, set())
        if key[:-1] in with_singles and runs != single_runs:
            run = min(runs ^ single_runs)
            metric = f"{key[-2]} after epoch {key[-1]}" if key[-1] else key[-2]
            lacks = "a line of its own" if run in runs else "a part in the mean"
            yield f"of {run}, {metric}, it lacks {lacks}"


def _epochs(lines: list[Line], records: Records, root: Path) -> Iterator[str]:
    """Whether a curve has a mean for every epoch that its runs have."""
    stated_epochs: dict[tuple[str, ...], set[int]] = {}
    recorded_epochs: dict[tuple[str, ...], set[int]] = {}
    for line in lines:
        epoch = recompute.number(line.get("epoch"))
        if epoch is None or line.get("seed"):
            continue
        key = tuple(line.get(part, "") for part in ("panel", *CELL, "metric"))
        stated_epochs.setdefault(key, set()).add(int(epoch))
        for run in expand_runs(line.get("runs", "")):
            recorded_epochs.setdefault(key, set()).update(_epochs_of(records[run], line["metric"], root))
    for key, recorded in recorded_epochs.items():
        if lost := sorted(recorded - stated_epochs[key]):
            yield f"{'/'.join(key[1:4])}, {key[4]}: it has no line of epoch {lost[0]}"


def _epochs_of(body: dict[str, Any], metric: str, root: Path) -> list[int]:
    """The epochs at which a run has a metric."""
    if metric in BY_EPOCH:
        return epochs_of(body, metric, root)
    if metric in SIDES:
        return list(range(1, body["trace"]["arrays"]["mean_weights"][0] + 1))
    return [int(epoch) for epoch in body["curves"]["epoch"]]
