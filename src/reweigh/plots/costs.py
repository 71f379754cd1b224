"""What a method costs over plain training: ratios of our runs' seconds, and those that `reweigh bench` measured.

Runs: seconds of training of all stages, evaluation left out, over those of the plain run of the same seed on the same
device with equally many runs beside it.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reweigh.analysis.gains import MEASURED_TIMES, times_row
from reweigh.analysis.rows import Row, cell_names
from reweigh.analysis.tables import Material

QUARTILES = ("q1", "q3")  # of the bench's ratios: for the picture alone
KINDS = {"runtime_ratio": "run time", "flops_ratio": "FLOPs"}
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


def bench_rows(root: Path, options: Mapping[str, Any]) -> list[Row]:
    """The ratios of the bench's lines whose contender and baseline are named in the options: in `y`; quartiles too."""
    path = root / options["measured"]
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        found = list(csv.DictReader(file))
    lines: list[Row] = []
    for line in found:
        method = options["contenders"].get(line["contender"])
        if method is None or not line["ratio"] or line["baseline"] not in options["baselines"]:
            continue
        kind = KINDS["flops_ratio" if "FLOP" in line["group"] else "runtime_ratio"]
        where = f"{kind}; {line['group']}; {line['device']}, {line['precision']}"
        measured: Measured = (
            {"panel": PANELS[kind], "experiment": "", "method": method, "title": line["contender"],
             "metric": MEASURED_TIMES, "y": float(line["ratio"]), "n": 0, "status": "computed", "note": where,
             "q1": float(line["q1"] or "nan"), "q3": float(line["q3"] or "nan")}
        )  # fmt: skip
        lines.append(measured)
    return lines
