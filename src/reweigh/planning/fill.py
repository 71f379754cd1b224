"""`reweigh fill`: train what is missing or stale, in the order of config/priorities.yaml, where a machine is idle."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reweigh import canonical_json, locks, terminal
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.priorities import Entry, entries
from reweigh.errors import DataError, TrainingError
from reweigh.planning.low_priority import LOWEST, give_way
from reweigh.planning.plan import Planned, duration, everything, of_runs
from reweigh.planning.plan_text import cost_of, counted
from reweigh.planning.tidy import remove_unwanted
from reweigh.training.__main__ import cores_allow, train
from reweigh.training.device import visible_devices

LOCK = Path(".reweigh/fill.lock")
UNTIL = "REWEIGH_FILL_UNTIL"  # for this process, should it replace itself by a fresh one: its id, the end of its time


@dataclass(frozen=True)
class Listed:
    """An entry of the list with its runs, each with its state and cost; a run stands at its first entry only."""

    entry: Entry
    runs: list[Planned]

    @property
    def pending(self) -> list[Planned]:
        """The runs without a current record."""
        return [run for run in self.runs if run.pending]


def listed(config: Config, scale: str, gpu: bool | None = None) -> list[Listed]:
    """The list at a scale, in its order. Raises ConfigError where it names what does not exist.

    What runs have in common is in the cost of the first of them that would be trained here: without a `gpu` (None: see
    whether there is one), those left to one come last.
    """
    gpu = bool(visible_devices()) if gpu is None else gpu
    first: dict[str, Entry] = {}
    order = entries(config)
    for entry in order:
        for cell in entry.cells(config, scale):
            for run in config.runs_of(cell):
                first.setdefault(run, entry)
    here = sorted(first, key=lambda run: first[run].priority.gpu and not gpu)
    planned = {run.run: run for run in of_runs(config, here)}
    return [Listed(entry, [planned[run] for run in first if first[run] is entry]) for entry in order]


def wanted(config: Config, scale: str, gpu: bool = True) -> list[Planned]:
    """The runs without a current record, in the order of the list; without those that want a GPU unless `gpu`."""
    return [run for one in listed(config, scale, gpu) if gpu or not one.entry.priority.gpu for run in one.pending]


# --- training --------------------------------------------------------------------------------------------------------


def fill(seconds: float, scale: str, at_once: int | None = None, nice: int = LOWEST) -> int:
    """Train the next runs of the list for some seconds; the exit code, 1 if a run failed.

    On a CPU as many runs train side by side as there are cores for, and no more: the first of the list end first.
    SIGTERM and Ctrl-C save and stop. What is not finished resumes in the next call.
    """
    replaced, gpu = has_replaced_itself(), bool(visible_devices())
    deadline = end_of_time(seconds)
    try:
        with alone() as lock:
            if not replaced:  # its priority is still the lower one
                give_way(nice)
                remove_unwanted(load())
            failures = _train_until(deadline, scale, at_once, gpu, lock)
    finally:
        os.environ.pop(UNTIL, None)
    print(what_is_left(listed(load(), scale, gpu), gpu))
    return int(failures > 0)


def _train_until(deadline: float, scale: str, at_once: int | None, gpu: bool, lock: IO[str]) -> int:
    """Train batch after batch; how many runs failed. The lock's file says what the batches so far have tried."""
    tried, failures = remembered(lock, deadline)
    while (left := deadline - time.monotonic()) > 0:
        pending = [run for run in wanted(load(), scale, gpu) if run.run not in tried]
        if not pending:
            break
        batch = next_of(pending, left)
        missing = unavailable(run.spec for run in batch)
        specs = [run.spec for run in batch if run.spec["data"]["dataset"] not in missing]
        outcome = train(specs, left, at_once=at_once or (None if gpu else cores_allow(specs)))
        tried.update(run.run for run in batch)
        failures += len(batch) - len(specs) + len(outcome.failed)
        remember(lock, deadline, tried, failures)
        if outcome.out_of_time:
            break
    else:  # between two batches, or while the first was still being planned
        print("reweigh: time is up; the same command goes on from here", file=sys.stderr)
    return failures


def has_replaced_itself() -> bool:
    """Whether this process goes on with the work of `fill` that it began as another program.

    Training replaces the process on a GPU after a refused capture (`training/afresh.py`).
    """
    return os.environ.get(UNTIL, "").partition(" ")[0] == str(os.getpid())


def end_of_time(seconds: float) -> float:
    """The end of the time in seconds of the monotonic clock; a process that replaced itself keeps its first one."""
    _, _, end = os.environ.get(UNTIL, "").partition(" ")
    deadline = float(end) if has_replaced_itself() else time.monotonic() + seconds
    os.environ[UNTIL] = f"{os.getpid()} {deadline}"
    return deadline


def remember(lock: IO[str], deadline: float, tried: set[str], failures: int) -> None:
    """Write what has been tried so far, and how many of it failed, for this process should it replace itself."""
    locks.tell(lock, json.dumps({"until": deadline, "tried": sorted(tried), "failures": failures}))


def remembered(lock: IO[str], deadline: float) -> tuple[set[str], int]:
    """What `remember` wrote for the same end of time; nothing if it did not."""
    lock.seek(0)
    try:
        told = canonical_json.parse(lock.read().encode())
        return (set(told["tried"]), int(told["failures"])) if told["until"] == deadline else (set(), 0)
    except (ValueError, LookupError, TypeError):
        return set(), 0


def next_of(pending: list[Planned], seconds: float) -> list[Planned]:
    """The first runs of a list: those that end within the time even if they cost a quarter of what is expected."""
    budget = 4 * seconds * cores_allow([])
    chosen: list[Planned] = []
    for run in pending:
        if chosen and budget <= 0:
            break
        chosen.append(run)
        budget -= run.seconds
    return chosen


def unavailable(specs: Iterable[dict[str, Any]]) -> set[str]:
    """The data sets of some specs that are neither there nor can be fetched; prints why, a line each."""
    from reweigh.data.local_cards import is_local
    from reweigh.data.manifest import ensure

    missing = set()
    for dataset in dict.fromkeys(spec["data"]["dataset"] for spec in specs):
        if is_local(dataset):  # whether the user's file is there is said when it is read
            continue
        try:
            ensure(dataset)
        except DataError as error:
            missing.add(dataset)
            print(f"reweigh: no runs on {dataset}: {error}", file=sys.stderr)
    return missing


@contextlib.contextmanager
def alone() -> Iterator[IO[str]]:
    """In this context, which is given the lock's file, no other `fill` trains in this folder.

    Raises TrainingError if one does already.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with locks.opened(LOCK) as lock:
        try:
            if not locks.take(lock):
                raise TrainingError("another `reweigh fill` is at work in this folder; one takes all cores")
        except locks.NoLocks as missing:
            locks.without(str(missing), "start no second `reweigh fill` here, it would train the same runs")
        yield lock


# --- printing --------------------------------------------------------------------------------------------------------


def show(scale: str) -> None:
    """Print the list: each entry with the state of its runs, what is left to do and why it stands there."""
    from rich.table import Table

    gpu, config = bool(visible_devices()), load()
    entries_ = listed(config, scale, gpu)
    console = terminal.console(wide=120)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("cells", "runs", "of these", "to do", "by"):
        table.add_column(header, justify="right" if header in ("runs", "to do") else "left", overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for one in entries_:
        if one.runs:
            states = counted(run.state for run in one.runs)
            why = f"{one.entry.priority.why}{'' if gpu or not one.entry.priority.gpu else ' (left to a GPU)'}"
            cells = f"{one.entry.priority.paper}: " + " ".join(one.entry.priority.cells)
            table.add_row(cells, str(len(one.runs)), states, *cost_of(one.pending), why)
    console.print(table, highlight=False)
    console.print(what_is_left(entries_, gpu), soft_wrap=True, highlight=False)
    names = {run.run for one in entries_ for run in one.runs}
    others = [run for run in of_runs(config, everything(config, scale)) if run.pending and run.run not in names]
    if others:
        console.print(f"{len(others)} more runs without a current record are not on the list", highlight=False)


def what_is_left(entries_: list[Listed], gpu: bool) -> str:
    """What is left of the list, how long it would take, and what comes next."""
    here = [run for one in entries_ if gpu or not one.entry.priority.gpu for run in one.pending]
    count, done = sum(len(one.runs) for one in entries_), sum(len(one.runs) - len(one.pending) for one in entries_)
    lines = [f"{done} of the {count} runs of the list are done."]
    if here:
        cores, seconds = cores_allow([]), sum(run.seconds for run in here)
        of_all = f", {duration(seconds / cores)} of all {cores}" if cores > 1 and not gpu else ""
        lines.append(f"Left: {len(here)} runs, about {duration(seconds)} of one core or device{of_all}.")
        lines.append(f"Next: {RunName.parse(here[0].run).cell}")
    if rest := [run for one in entries_ for run in one.pending if one.entry.priority.gpu and not gpu]:
        lines.append(f"Left to a machine with a GPU: {len(rest)} runs, {duration(sum(run.seconds for run in rest))}.")
    return "\n".join(lines)
