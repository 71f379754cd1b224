"""The lines of the bench, their csv, their report, and the name of this machine. Without torch: planning reads it."""

import csv
import functools
import io
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from reweigh import canonical_json, spreadsheets
from reweigh.bench.entries import cycle_of

CSV = Path("results") / "bench" / "bench.csv"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \| [0-9.]+ ×[^|]*\|$", re.MULTILINE)  # of docs/speed.md


@dataclass(frozen=True)
class Line:
    """One contender: what a step (or run, or plan) of it takes, and that as a share of what its baseline takes.

    `milliseconds` is the median over the rounds; `ratio`, `q1` and `q3` are median and quartiles of the ratios within a
    round, below 1 where the contender is faster. A baseline is its own baseline. Of a ratio of counts, which is exact,
    the quartiles are the ratio, and `milliseconds` is 0. `peak_mebibytes` is memory above the level before the step.
    `model`, `batch_size` and `method` (`method_key`) are given where the line is a whole step of training at the
    model's full size, which `reweigh plan` can predict from.
    """

    device: str
    torch: str
    group: str
    contender: str
    baseline: str
    milliseconds: float
    ratio: float | None
    q1: float | None
    q3: float | None
    peak_mebibytes: float | None
    rounds: int
    threads: int
    precision: str
    model: str = ""
    batch_size: int | None = None
    method: str = ""
    note: str = ""


def method_key(uses: str, options: dict[str, Any]) -> str:
    """What decides the cost of a method's step: its module, and how often it learns by its card, as in `NAME 10`."""
    return f"{uses} {cycle_of(uses, options)}"


def write(lines: Iterable[Line], path: Path) -> None:
    """Write lines as csv: six significant digits, an empty field where there is no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Line)], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _text(value) for name, value in asdict(line).items()})
    canonical_json.write(path, text.getvalue())


def _text(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    return spreadsheets.cell(value) if isinstance(value, str) else value


def read(path: Path) -> list[Line]:
    """The lines of a csv that `write` wrote; none if there is no such file, or it has other columns."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_line(row) for row in spreadsheets.lines(csv.DictReader(file))]
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return []


def _line(row: dict[str, str]) -> Line:
    values: dict[str, Any] = dict(row)
    values |= {name: float(row[name]) if row[name] else None for name in ("ratio", "q1", "q3", "peak_mebibytes")}
    values |= {"milliseconds": float(row["milliseconds"]), "rounds": int(row["rounds"]), "threads": int(row["threads"])}
    values["batch_size"] = int(row["batch_size"]) if row["batch_size"] else None
    return Line(**values)


def report(lines: list[Line]) -> str:
    """The lines as a table, group by group, under the name of the machine."""
    if not lines:
        return "nothing was measured"
    text = [f"{lines[0].device}, torch {lines[0].torch}; ratio to the baseline: median [quartiles]; less is faster"]
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            text += ["", f"{group} ({line.threads} thread{'s' if line.threads > 1 else ''})"]
        ratio = "" if line.ratio is None else f"{line.ratio:6.3f} x"
        spread = "" if line.q1 is None or line.contender == line.baseline else f"[{line.q1:.3f}, {line.q3:.3f}]"
        memory = "" if line.peak_mebibytes is None else f"{line.peak_mebibytes:7.1f} MiB"
        took = f"{line.milliseconds:10.2f} ms" if line.milliseconds else " " * 13
        cost = f"{took} {ratio:9} {spread:16} {memory:11}"
        text.append(f"  {line.contender:58} {cost} {line.note}".rstrip())
    return "\n".join(text)


def ratio_text(line: Line) -> str:
    """A ratio with its quartiles, as docs/speed.md shows it.

    >>> ratio_text(Line("", "", "", "", "", 1.0, 0.99281, 0.980568, 1.00712, None, 5, 1, "fp32"))
    '0.993 × (0.981 to 1.01)'
    """
    spread = "" if line.q1 is None else f" ({line.q1:.3g} to {line.q3:.3g})"
    return f"{line.ratio:.3g} ×{spread}"


def with_measured(text: str, lines: Iterable[Line]) -> str:
    """A page with the times of the rows `| contender | baseline | part of the group | time |` as `lines` have them.

    Raises ValueError for a row of which there is no line, or several.
    """
    known = list(lines)

    def measured(row: re.Match[str]) -> str:
        name, baseline, part = (cell.strip() for cell in row.groups())
        found = [one for one in known if (one.contender, one.baseline) == (name, baseline) and part in one.group]
        if len(found) != 1:
            raise ValueError(f"{len(found)} lines of the bench are {name!r} against {baseline!r} in {part!r}")
        return f"| {name} | {baseline} | {part} | {ratio_text(found[0])} |"

    return ROW.sub(measured, text)


def whole_table(lines: Iterable[Line]) -> str:
    """Every ratio to something else as a table for docs/speed.md, with the model or group that it is of, and memory."""
    rows = ["| what | of | in | time |  |", "| --- | --- | --- | --- | --- |"]
    for line in (line for line in lines if line.contender != line.baseline):
        where = re.split(r"[,:] ", line.group, maxsplit=1)[-1]
        peak = line.peak_mebibytes
        memory = [] if peak is None else [f"{peak:.3g} MiB" if peak < 100 else f"{peak:,.0f} MiB"]
        notes = "; ".join([*memory, *([line.note] if line.note else [])])
        rows.append(f"| {line.contender} | {line.baseline} | {where} | {ratio_text(line)} | {notes} |")
    return "\n".join(rows)


@functools.cache
def processor() -> str:
    """The name of this machine's processor, as in records and in the bench."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@functools.cache
def devices() -> frozenset[str]:
    """The names of the devices that this machine trains on: its GPUs if nvidia-smi lists any, else its processor."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True, encoding="utf-8"
        ).stdout
    except (OSError, subprocess.SubprocessError):
        listed = ""
    return frozenset(name.strip() for name in listed.splitlines() if name.strip()) or frozenset([processor()])
