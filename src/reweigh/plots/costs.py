"""What a method costs over plain training: ratios of our runs' seconds, and those that `reweigh bench` measured.

Runs: seconds of training of all stages, evaluation left out, over those of the plain run of the same seed on the same
device with equally many runs beside it.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reweigh import spreadsheets
from reweigh.analysis.gains import MEASURED_TIMES, TIMES, times_row
from reweigh.analysis.rows import Row, cell_names
from reweigh.analysis.tables import Material
from reweigh.plots.notes import means_text
from reweigh.plots.style import MUTED

QUARTILES = ("q1", "q3")  # of the bench's ratios: for the picture alone
KINDS = {"runtime_ratio": "run time", "flops_ratio": "FLOPs"}
LEAST = 3.0  # times: an axis goes so far at least
PANELS = dict(zip(KINDS.values(), "ab", strict=True))


class Measured(Row, total=False):
    """A line of the bench."""

    q1: float
    q3: float


def run_row(material: Material, cell: tuple[str, str, str], plain: str) -> Row:
    """The mean over seeds of the ratio of a cell's seconds to those of the plain method."""
    sides = material.of(*cell), material.of(cell[0], cell[1], plain)
    together = sides[0].merge(sides[1], on=["seed", "device", "runs_at_once"], suffixes=("", "_plain"))
    row = times_row(together, material.records)
    missing = [name for name, runs in zip((cell[2], plain), sides, strict=True) if runs.empty]
    reasons = dict.fromkeys(material.why_not(cell[0], cell[1], name) for name in missing)
    why = ", ".join(reasons) if missing else "" if row["n"] else "no pair on one device that finished"
    return {"panel": "a", **cell_names(material, *cell), "against": plain, **row, "note": why}


def runs_text(rows: pd.DataFrame, stages: str = "all stages") -> str:
    """What the points of our runs are: over how many seeds, and of which seconds."""
    run = rows[(rows["metric"] == TIMES) & (rows["n"] > 0)]
    if run.empty:
        return "Nothing of ours was run"
    return (
        f"Runs: {means_text(run)}; seconds of training of {stages}, evaluation left out, over those of the ERM of the "
        "same seed on the same device"
    )


def machine_notes(material: Material, rows: pd.DataFrame, bench: str) -> list[str]:
    """On which devices runs took their time, and what of the `bench` was measured on which machines."""
    devices = sorted(set(material.runs["device"]))
    notes = [f"Time spent computing on: {', '.join(devices)}"] if devices else []
    said = {note.rpartition("; ")[2] for note in rows[rows["metric"] == MEASURED_TIMES]["note"]}
    return [*notes, f"{bench}; {_machines(said)}" if said else "Bench: not measured"]


def _machines(said: Iterable[str]) -> str:
    """Machines, and how many rounds were measured on each.

    >>> _machines(["EPYC, fp32, 5 rounds", "H200, bf16", "EPYC, fp32, 1 round"])
    'EPYC, fp32, 1 to 5 rounds; H200, bf16'
    """
    rounds: dict[str, set[int]] = {}
    for text in sorted(said):
        found = re.fullmatch(r"(.+), ([0-9]+) rounds?", text)
        rounds.setdefault(found[1] if found else text, set()).update([int(found[2])] if found else [])
    return "; ".join(machine + _count(counts) for machine, counts in rounds.items())


def _count(rounds: set[int]) -> str:
    if not rounds:
        return ""
    least, most = min(rounds), max(rounds)
    return f", {least if least == most else f'{least} to {most}'} round{'s' * (most > 1)}"


def frame(axes: Axes, rows: pd.DataFrame, methods: int, room: float) -> None:
    """Axis, line at 1 and separators of a panel of ratios with a line a method; `room` beyond the farthest, times."""
    numbers = rows[["y", "mean", "q3"]].max().max()
    farthest = max(LEAST, 0.0 if pd.isna(numbers) else float(numbers))
    end = rows["high"].max()
    axes.set_xlim(0, room * (farthest if pd.isna(end) else min(max(farthest, float(end)), 1.3 * farthest)))
    axes.axvline(1, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    for place in range(methods - 1):
        axes.axhline(place + 0.5, color="#e3e3e3", linewidth=0.6, zorder=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def group_of(note: str) -> str:
    """The group of a line of the bench, which says net, batch size and threads, from its note."""
    return note.split("; ")[1]


def bench_rows(root: Path, options: Mapping[str, Any]) -> list[Row]:
    """The ratios of the bench's lines whose contender and baseline are named in the options: in `y`; quartiles too."""
    path = root / options["measured"]
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        found = spreadsheets.lines(csv.DictReader(file))
    lines: list[Row] = []
    for line in found:
        method = options["contenders"].get(line["contender"])
        if method is None or not line["ratio"] or line["baseline"] not in options["baselines"]:
            continue
        kind = KINDS["flops_ratio" if "FLOP" in line["group"] else "runtime_ratio"]
        rounds = f", {line['rounds']} round{'s' * (line['rounds'] != '1')}" if line["rounds"] else ""
        where = f"{kind}; {line['group']}; {line['device']}, {line['precision']}{rounds}"
        measured: Measured = (
            {"panel": PANELS[kind], "experiment": "", "method": method, "title": line["contender"],
             "metric": MEASURED_TIMES, "y": float(line["ratio"]), "n": 0, "status": "computed", "note": where,
             "q1": float(line["q1"] or "nan"), "q3": float(line["q3"] or "nan")}
        )  # fmt: skip
        lines.append(measured)
    return lines
