"""Margins of the test examples of a run, p_y − max_{j≠y} p_j, against those of another run on the same examples.

Where examples are put into buckets by the margin that one run gives them, another run of the very same method lies
above it in the low buckets and below it in the high ones, as margins regress to their mean. So a line of plain training
against plain training with another seed belongs beside every such plot, or buckets by a run that is neither of the two.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from reweigh import canonical_json
from reweigh.analysis.tables import logged
from reweigh.digest import canonical

ARRAY = "test_margins"  # of the trace, where `keep_margins` is set
MEAN, MEDIAN, SHARE = "margin_change", "margin_change_median", "margin_change_share"
BUCKET, SD_IN, SEM_IN = "margin_change_in_bucket", "margin_change_sd_in_bucket", "margin_change_sem_in_bucket"
IN_BUCKET = "examples_in_bucket"  # share of the test examples
OF_BUCKETS = (BUCKET, SD_IN, SEM_IN, IN_BUCKET)
METRICS = (MEAN, MEDIAN, SHARE, *OF_BUCKETS)
ANOTHER = "another seed"  # notes: the first run is of another seed than the second
APART = "buckets by another seed"  # the buckets are by the margins of a third run, of another seed

BIN, WIDTH = 0.05, 0.2  # of changes, from −2 to 2; of margins, from −1 to 1
BINS, BUCKETS = round(4 / BIN), round(2 / WIDTH)


class Compared(NamedTuple):
    """Runs on the same test examples: margins of the one less those of the base, and by whose margins buckets are."""

    run: str
    base: str
    by: str


def of_run(body: Mapping[str, Any], root: str = ".") -> np.ndarray | None:
    """The margins of a finished run's test examples, float64 (N,), in the order of its test set; None if not kept."""
    if body["status"] != "finished" or body["trace"] is None or ARRAY not in body["trace"]["arrays"]:
        return None
    return _read(root, body["run"], canonical(body["trace"]))


@functools.lru_cache(maxsize=256)
def _read(root: str, run: str, trace: bytes) -> np.ndarray:
    found = logged({"run": run, "trace": canonical_json.parse(trace)}, ARRAY, root=root)
    assert found is not None
    return found[0].astype(float)


def same_examples(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs, by their records, were tested on the same examples in the same order.

    They are where the test set is the whole official one, or drawn with the same seed by the same words.
    """
    data, others = one["spec"]["data"], other["spec"]["data"]
    words = ("kind", "classes", "order", "test", "test_size")
    split, of_other = data["split"], others["split"]
    if data["dataset"] != others["dataset"] or any(split.get(word) != of_other.get(word) for word in words):
        return False
    if one["split"]["sizes"]["test"] != other["split"]["sizes"]["test"]:
        return False
    whole = split.get("test") == "all" and split["kind"] != "two-class" and not split.get("test_size")
    return whole or _seed_of_test(one["spec"]) == _seed_of_test(other["spec"])


def _seed_of_test(spec: Mapping[str, Any]) -> int:
    split = spec["data"]["split"]
    seeds = (split.get("test_seed"), split.get("fixed_seed"), spec["seed"])
    return int(next(seed for seed in seeds if seed is not None))


def pairs(
    ours: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]], note: str = "", root: str = "."
) -> list[Compared]:
    """Which runs are compared, records by seed: of each seed a run and its base.

    ANOTHER: each base with the base of the next seed, in a circle. APART: the buckets are by the next seed's base.
    Runs without margins, or on other test examples, have no part in it.
    """
    kept = {seed: body for seed, body in sorted(base.items()) if of_run(body, root) is not None}
    seeds = list(kept)
    after = {seed: seeds[(place + 1) % len(seeds)] for place, seed in enumerate(seeds)} if len(seeds) > 1 else {}
    found: list[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = []
    for seed, body in kept.items():
        if note and seed not in after:
            continue
        other = kept[after[seed]] if note == ANOTHER else ours.get(seed)
        if other is not None and of_run(other, root) is not None:
            found.append((other, body, kept[after[seed]] if note == APART else body))
    return [
        Compared(one["run"], two["run"], by["run"])
        for one, two, by in found
        if same_examples(one, two) and same_examples(two, by)
    ]


def change_rows(change: np.ndarray) -> dict[str, list[tuple[float | None, float]]]:
    """Of one pair: mean, median, and the share of each bin (at its centre) of the changes (N,) of all examples."""
    edges = np.linspace(-2, 2, BINS + 1)
    shares = np.histogram(change, edges)[0] / len(change)
    centres = (edges[:-1] + edges[1:]) / 2
    return {
        MEAN: [(None, float(change.mean()))],
        MEDIAN: [(None, float(np.median(change)))],
        SHARE: list(zip(centres.round(6).tolist(), shares.tolist(), strict=True)),
    }


def bucket_rows(change: np.ndarray, by: np.ndarray) -> dict[str, list[tuple[float, float]]]:
    """Of one pair, at the start of each bucket of the margins `by` (N,): mean, sd and standard error of the changes.

    The sd is over test examples (n − 1). A bucket without an example has none, one with a single example no sd.
    """
    place = np.clip(np.floor((by + 1) / WIDTH + 1e-9).astype(int), 0, BUCKETS - 1)
    rows: dict[str, list[tuple[float, float]]] = {metric: [] for metric in OF_BUCKETS}
    for bucket in range(BUCKETS):
        inside, start = change[place == bucket], round(bucket * WIDTH - 1, 6)
        rows[IN_BUCKET].append((start, len(inside) / len(change)))
        if len(inside):
            rows[BUCKET].append((start, float(inside.mean())))
        if len(inside) > 1:
            sd = float(inside.std(ddof=1))
            rows[SD_IN].append((start, sd))
            rows[SEM_IN].append((start, sd / len(inside) ** 0.5))
    return rows
