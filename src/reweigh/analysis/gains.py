"""How a method compares with another on the same seeds: relative gains, ratios of seconds, differences of two gains."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reweigh.analysis.rows import Row, mean_row, paired_row
from reweigh.analysis.tables import fingerprint, join_runs

RELATIVE = "_relative_gain"  # how the metric of a / b − 1 ends, a of the line's method and b of the one it is `against`
IN_DIFFERENCES = "_difference_in_differences"  # of one difference less another one, which the note names
TIMES = "run_times_plain"  # seconds of a run, evaluation left out, over those of the run that it is `against`
PRINTED, PRINTED_GAIN = "printed_relative_gain", "printed_gain"  # of numbers of the paper; no run feeds them
PRINTED_TIMES = "printed_times_plain"  # what the paper says of run time, or of FLOPs
MEASURED_TIMES = "measured_times_plain"  # what `reweigh bench` measured of it
LESS = re.compile(r"less ([\w-]+) over ([\w-]+)")


def relative_row(ours: pd.DataFrame, others: pd.DataFrame, metric: str) -> Row:
    """The mean over seeds of `ours` over `others`, less 1; what diverged and what counts as in `rows.paired_row`."""
    pairs = ours.merge(others, on="seed", suffixes=("", "_other"))
    gains = pairs[metric] / pairs[f"{metric}_other"] - 1
    return {**paired_row(ours, others, metric), **mean_row(gains), "metric": f"{metric}{RELATIVE}"}


def in_differences_row(sides: list[pd.DataFrame], names: tuple[str, str], metric: str) -> Row:
    """The mean over seeds of (a − b) − (c − d), `sides` the runs of a to d; seeds that one of them lacks do not count.

    `names`: the methods of c and d, for the note.
    """
    values = [side.dropna(subset=metric).set_index("seed")[metric] for side in sides]
    seeds = sorted(set.intersection(*({*side.index} for side in values)))
    a, b, c, d = (side.loc[seeds] for side in values)
    kept = [side[side["seed"].isin(seeds)].sort_values("seed") for side in sides]
    runs, digests = ([one for side in kept for one in side[name]] for name in ("run", "digest"))
    return {
        "metric": f"{metric}{IN_DIFFERENCES}",
        **mean_row((a - b) - (c - d)),
        "status": "run" if seeds else "not run",
        "note": less(*names),
        "runs": join_runs(runs),
        "records": fingerprint(digests) if seeds else "",
    }


def less(treated: str, control: str) -> str:
    """What the note of a difference in differences says of the one that is taken off."""
    return f"less {treated} over {control}"


def taken_off(note: str) -> tuple[str, str] | None:
    """The methods of such a note; None where it is another.

    >>> taken_off(less("lrw_random", "random_removed"))
    ('lrw_random', 'random_removed')
    """
    found = LESS.match(note)
    return (found[1], found[2]) if found else None


def seconds_of(body: Mapping[str, Any]) -> float | None:
    """Seconds of training of a finished run, all stages together, evaluation left out; None of any other."""
    clock = body["curves"]["train_seconds"]
    return float(clock[-1]) if body["status"] == "finished" and clock else None


def times_row(pairs: pd.DataFrame, records: Mapping[str, Mapping[str, Any]]) -> Row:
    """The mean over pairs of runs (columns run and run_plain, digest and digest_plain) of their seconds' ratio."""
    times = [
        None
        if (mine := seconds_of(records[ours])) is None or not (plain := seconds_of(records[theirs]))
        else mine / plain
        for ours, theirs in zip(pairs["run"], pairs["run_plain"], strict=True)
    ]
    known = pairs.assign(value=pd.Series(times, pairs.index, dtype=float)).dropna(subset="value")
    runs, digests = ([*known[name], *known[f"{name}_plain"]] for name in ("run", "digest"))
    return {
        "metric": TIMES,
        **mean_row(known["value"]),
        "status": "run" if len(known) else "not run",
        "runs": join_runs(runs),
        "records": fingerprint(digests) if len(known) else "",
    }
