"""Measuring: contenders that take turns, peak memory, and the time spent in some methods."""

import ctypes
import gc
import os
import re
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reweigh.bench.table import Line
from reweigh.training.engine import Run
from reweigh.training.run import device_facts

Block = Callable[[], float]  # does its work once and returns the milliseconds of one step of it


@dataclass(frozen=True)
class Contender:
    """One contender: the work of a turn, and the fields of its line (see `Line`)."""

    block: Block
    precision: str = "fp32"
    model: str = ""
    batch_size: int | None = None
    method: str = ""
    note: str = ""
    peak_mebibytes: float | None = None


@dataclass(frozen=True)
class Bench:
    """A measurement: the device, the number of rounds, and a function that shows progress.

    With `of_processor` times are those that processors spent on this process, all threads together, which no other
    work on the machine is part of. Not on a GPU: there time is that of the clock.
    """

    device: torch.device
    rounds: int
    progress: Callable[[str], None]
    of_processor: bool = False

    def compare(
        self, group: str, contenders: dict[str, Contender], baseline: str | None = None, rounds: int = 0
    ) -> list[Line]:
        """Let contenders take turns, and compare all with one of them (by default the first); a line for each."""
        times = self.turns(group, contenders, rounds)
        return self.lines(group, contenders, times, baseline or next(iter(contenders)))

    def turns(self, group: str, contenders: dict[str, Contender], rounds: int = 0) -> dict[str, list[float]]:
        """Let contenders take turns; the milliseconds of each in each round."""
        rounds = rounds or self.rounds
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds):
            for name, contender in contenders.items():
                self.progress(f"{group}: {name}, round {number + 1} of {rounds}")
                times[name].append(contender.block())
        return times

    def lines(
        self, group: str, contenders: dict[str, Contender], times: dict[str, list[float]], baseline: str
    ) -> list[Line]:
        """A line for each contender from its milliseconds in each round, compared with the baseline's."""
        return [self.line(group, name, one, times[name], baseline, times[baseline]) for name, one in contenders.items()]

    def line(
        self, group: str, name: str, contender: Contender, own: list[float], baseline: str, other: list[float]
    ) -> Line:
        """The line of one contender: medians and quartiles over rounds. Quartiles of a single round are left out."""
        ratios = [mine / theirs for mine, theirs in zip(own, other, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(own) > 1 else (None, None, None)
        facts = {key: value for key, value in vars(contender).items() if key != "block"}
        return Line(
            device=device_name(self.device),
            torch=torch.__version__,
            group=group,
            contender=name,
            baseline=baseline,
            milliseconds=statistics.median(own),
            ratio=statistics.median(ratios),
            q1=low,
            q3=high,
            rounds=len(own),
            threads=torch.get_num_threads(),
            **facts,
        )

    def timed(self, work: Callable[[], Any], steps: int = 1) -> Block:
        """A block that does `work`, which takes `steps` steps, and waits for the device."""

        def block() -> float:
            clock = time.process_time if self.of_processor and self.device.type != "cuda" else time.perf_counter
            wait(self.device)
            started = clock()
            work()
            wait(self.device)
            return 1000 * (clock() - started) / steps

        return block

    def steps_of(self, run: Run, steps: int) -> Block:
        """A block that takes `steps` steps of a run."""
        return self.timed(lambda: advance(run, steps), steps)

    def peak_of(self, work: Callable[[], Any]) -> float | None:
        """The peak memory of `work` above the level before, in MiB; None where it cannot be measured."""
        work()  # a first time, so that what stays (the buffers of libraries) does not count
        if self.device.type != "cuda":
            return resident_peak(work)
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20


def all_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """The name of a device as in records."""
    return str(device_facts(device, {"training": {"threads": 0, "precision": ""}})["name"])


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def advance(run: Run, steps: int) -> None:
    """Take `steps` steps of a run."""
    for _ in range(steps):
        run.advance()


def resident_peak(work: Callable[[], Any]) -> float | None:
    """The peak of this process's resident memory during `work` above the level before, in MiB. Linux only, else None.

    Freed memory is first returned to the system; else it could be used again without a trace in the peak.
    """
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        clear.write_text("5", encoding="utf-8")  # the high-water mark starts again from what is resident now
        before = _kibibytes(status, "VmRSS")
        work()
        return max(0.0, (_kibibytes(status, "VmHWM") - before) / 1024)
    except (OSError, AttributeError):
        return None


def _kibibytes(status: Path, name: str) -> int:
    (count,) = re.findall(rf"^{name}:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE)
    return int(count)


class Stopwatch:
    """A context that measures the milliseconds spent in some methods of an object, by name."""

    def __init__(self, thing: Any, *names: str) -> None:
        self.thing, self.spent = thing, dict.fromkeys(names, 0.0)

    def __enter__(self) -> dict[str, float]:
        for name in self.spent:
            setattr(self.thing, name, self._timed(name, getattr(self.thing, name)))
        return self.spent

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.spent[name] += 1000 * (time.perf_counter() - started)

        return timed

    def __exit__(self, *_: object) -> None:
        for name in self.spent:
            with suppress(AttributeError):
                delattr(self.thing, name)  # the class's own method again
