"""Whether the csv of a figure is whole: a line for all that it shows, each once, of every seed that has a record.

A sha256 in a receipt says that a csv is as it was written, and its lines that their numbers are right. What this adds
is what is not there: a cell, a seed, an epoch that was left out, in a csv whose receipt was made anew to fit it.
"""

from collections.abc import Collection, Iterator
from typing import Any

from reweigh.analysis.rows import DIFFERENCE, SIDES
from reweigh.analysis.tables import unpack
from reweigh.config.grid import Config
from reweigh.errors import ConfigError
from reweigh.provenance import recompute

Line = dict[str, str]
Records = dict[str, dict[str, Any]]
CELL = ("experiment", "setting", "method")
# What two lines of one csv cannot both say.
KEY = ("panel", *CELL, "against", "metric", "class", "seed", "epoch", "x", "y", "note")


def incomplete(
    lines: list[Line], config: Config, cell_of: tuple[str, str, str], records: Records, made_from: Collection[str]
) -> str:
    """What the csv of an artifact (scale, paper, name) lacks or has too much of; empty if nothing.

    `records` are the sound ones, by run; `made_from` the runs that its receipt names.
    """
    scale, paper, name = cell_of
    try:
        return next(_faults(lines, config, scale, paper, name, records, made_from), "")
    except ConfigError as error:
        return f"the config has not what it names ({error})"


def _faults(
    lines: list[Line], config: Config, scale: str, paper: str, name: str, records: Records, made_from: Collection[str]
) -> Iterator[str]:
    top, seen = f"{scale}/{paper}", dict[tuple[str, ...], int]()
    for place, line in enumerate(lines, start=2):
        runs = unpack(line.get("runs", ""))
        if other := [run for run in runs if run not in made_from]:
            yield f"line {place}: {other[0]} is not among the records of its receipt"
        if all(line.get(part) for part in CELL):
            yield from (f"line {place}: {fault}" for fault in _seeds(line, runs, config, top, records))
        first = seen.setdefault(tuple(line.get(part, "") for part in KEY), place)
        if runs and first != place:
            yield f"line {place}: the same as line {first}"
    yield from _cells(lines, config, scale, paper, name, records)
    yield from _singles(lines)
    yield from _epochs(lines, records)


def _cells(lines: list[Line], config: Config, scale: str, paper: str, name: str, records: Records) -> Iterator[str]:
    """Whether all cells that the config says an artifact needs have a line, as far as they have records.

    Pairs are shown at some settings only, and an optional method may lack its partner.
    """
    top, paired = f"{scale}/{paper}", "against" in (lines or [{}])[0]
    drawn = {_cell(line, top, side) for line in lines for side in ("method", "against")}
    compared = {_without_setting(cell) for cell in drawn}
    named = {(one.experiment, method) for one in config.artifact(paper, name).reads for method in one.methods}
    for cell in config.cells_of(scale, paper, name):
        shown = _without_setting(cell) in compared | ({_without_setting(cell)} - named) if paired else cell in drawn
        if not shown and any(run in records for run in config.runs_of(cell)):
            yield f"it has no line of {cell}"


def _without_setting(cell: str) -> tuple[str, str]:
    return cell.split("/")[2], cell.split("/")[4]


def _cell(line: Line, top: str, method: str = "method") -> str:
    return "/".join((top, line.get("experiment", ""), line.get("setting", ""), line.get(method, "")))


def _seeds(line: Line, runs: list[str], config: Config, top: str, records: Records) -> Iterator[str]:
    """Whether a line names the runs that should feed it: all of its cell that have its metric, or its one seed."""
    metric, epoch = line["metric"], recompute.number(line.get("epoch"))
    if metric in recompute.FEATURES or line.get("seed"):
        return
    sides = [_cell(line, top), *([_cell(line, top, "against")] if line.get("against") else [])]
    metric = metric.removesuffix(DIFFERENCE)
    feeding = [
        {run.rpartition("/")[2]: run for run in config.runs_of(cell) if _feeds(records.get(run), metric, epoch)}
        for cell in sides
    ]
    expected = {run for side in feeding for seed, run in side.items() if all(seed in other for other in feeding)}
    if left := sorted(expected - {*runs}):
        yield f"it leaves out {left[0]}"
    if other := sorted({*runs} - expected):
        yield f"{other[0]} is no run of it"


def _feeds(body: dict[str, Any] | None, metric: str, epoch: float | None) -> bool:
    return body is not None and recompute.feeds(body, metric, epoch)


def _singles(lines: list[Line]) -> Iterator[str]:
    """Where single seeds have lines beside their mean, each seed of the mean must have one."""
    means, singles = dict[tuple[str, ...], set[str]](), dict[tuple[str, ...], set[str]]()
    for line in lines:
        if line.get("runs") and line["metric"] not in recompute.FEATURES:
            kept = singles if line.get("seed") else means
            key = tuple(line.get(part, "") for part in ("panel", *CELL, "against", "metric", "epoch"))
            kept.setdefault(key, set()).update(unpack(line["runs"]))
    shown = {key[:-1] for key in singles}
    for key in sorted({*means, *singles}):
        if key[:-1] in shown and (odd := sorted(means.get(key, set()) ^ singles.get(key, set()))):
            after = f" after epoch {key[-1]}" if key[-1] else ""
            yield f"of {odd[0]}, {key[-2]}{after}, it has not both its own line and its part in the mean"


def _epochs(lines: list[Line], records: Records) -> Iterator[str]:
    """A curve has a mean for every epoch that its runs have."""
    found: dict[tuple[str, ...], tuple[set[int], set[int]]] = {}
    for line in lines:
        epoch = recompute.number(line.get("epoch"))
        if epoch is None or line.get("seed"):
            continue
        key = tuple(line.get(part, "") for part in ("panel", *CELL, "metric"))
        stated, known = found.setdefault(key, (set(), set()))
        stated.add(int(epoch))
        known.update(*(_known(records[run], line["metric"]) for run in unpack(line.get("runs", ""))))
    for key, (stated, known) in found.items():
        if lost := sorted(known - stated):
            yield f"{'/'.join(key[1:4])}, {key[4]}: it has no line of epoch {lost[0]}"


def _known(body: dict[str, Any], metric: str) -> list[int]:
    if metric in SIDES:
        return list(range(1, body["trace"]["arrays"]["mean_weights"][0] + 1))
    return [int(epoch) for epoch in body["curves"]["epoch"]]
