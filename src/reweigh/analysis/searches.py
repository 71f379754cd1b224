"""What a search for a training loss left: its outer steps by epoch, the loss that it had found, the curvature it met.

A method that searches (AutoBalance) logs one row an outer step: `outer_step`, the number of the training step; the raw
parameters of the loss, `delta` and `l`; `lambda_max`, the largest eigenvalue of the Hessian of its training loss, and
`share_beyond`, the share of the squared validation gradient in directions whose eigenvalue lies beyond 2. The search is
the first stage of the run, retraining the last.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from reweigh.analysis.tables import logged

# Metrics of lines of a csv that are made of what searches left, and of costs by stage.
SEARCHED = {"searched_multiplier": "delta", "searched_offset": "l"}  # each with the array of the trace
CURVATURE = {"largest_curvature": "lambda_max", "gradient_beyond_two": "share_beyond"}
BEYOND = "steps_beyond_two"  # share of the outer steps with λ_max above 2
# Logarithm (base 10) of the largest step of α, of searches whose λ_max never exceeded 2, or did.
STEPS = {"log_largest_step_within_two": False, "log_largest_step_beyond_two": True}
PARTS = ("train", "validation", "test")
ERRORS = {f"search_{part}_error": part for part in PARTS}  # balanced errors by epoch of the search
SECONDS = {"search_seconds": 0, "training_seconds": -1}  # of the first stage, of the last
RATIOS = ("times_plain", "search_times_plain")  # search and retraining, or the search alone, over a plain training
ORACLE = "balanced_error_over_oracle"  # minus the least error of the settings of another experiment
BY_EPOCH = (*SEARCHED, *CURVATURE, *ERRORS)
METRICS = (*BY_EPOCH, BEYOND, *STEPS, *SECONDS, *RATIOS, ORACLE)

LIMIT = 2.0  # eigenvalue from which the truncated Neumann series with ε = 1 has the wrong sign
FIFTHS = 5  # parts of the classes, ranked by size, over which a figure takes means


class Search(NamedTuple):
    """Outer steps of one run: the epoch of each, counted from 1, and what was logged at it, float64 (steps, ...)."""

    epochs: np.ndarray
    arrays: Mapping[str, np.ndarray]


def of(body: Mapping[str, Any], *names: str, root: str = ".") -> Search | None:
    """The outer steps of a run with these arrays; None if it logged not all of them, or took no outer step.

    One that comes after its step of θ (inner-first) is logged under the number of the next one.
    """
    found = logged(dict(body), "outer_step", *names, root=root)
    if not found or not len(found[0]):
        return None
    steps, *arrays = found
    late = body["spec"]["method_options"].get("order") == "inner-first"
    epochs = (steps.astype(int) - late) // body["stages"][0]["steps_per_epoch"] + 1
    return Search(epochs, {name: array.astype(float) for name, array in zip(names, arrays, strict=True)})


def of_ranks(values: np.ndarray, cluster_size: int, classes: int, parts: int) -> np.ndarray:
    """Means over `parts` runs of consecutive classes, ranked by their size. (..., K') -> (..., parts).

    Clusters are `cluster_size` consecutive ranks each, the last one what is left of them.

    >>> of_ranks(np.array([1.0, 3.0, 5.0, 7.0]), 1, 4, 2).tolist()
    [2.0, 6.0]
    """
    clusters = np.minimum(np.arange(classes) // cluster_size, values.shape[-1] - 1)
    by_rank = values[..., clusters]
    bounds = np.linspace(0, classes, parts + 1).round().astype(int)
    return np.stack([by_rank[..., a:b].mean(-1) for a, b in itertools.pairwise(bounds)], -1)


def found_by_epoch(body: Mapping[str, Any], metric: str, root: str = ".") -> pd.DataFrame | None:
    """The multiplier or offset of each fifth of the ranked classes at the last outer step of each epoch.

    Columns epoch, class (the fifth, 0 of the most frequent), value. The multiplier is shown as it acts, s(Δ) where the
    loss has a sigmoid. None for a run that diverged, or did not search it by class clusters.
    """
    name, options = SEARCHED[metric], body["spec"]["method_options"]
    asked = body["status"] == "finished" and name in options.get("design", ())
    search = of(body, name, root=root) if asked else None
    if search is None or search.arrays[name].ndim != 2:
        return None
    raw = search.arrays[name]
    if metric == "searched_multiplier" and options["multiplier"] == "sigmoid":
        raw = expit(raw)
    means = of_ranks(raw, options["cluster_size"], len(body["split"]["sizes"]["train"]), FIFTHS)
    last = np.append(search.epochs[1:] != search.epochs[:-1], True)
    epochs = search.epochs[last]
    return pd.DataFrame(
        {
            "epoch": np.tile(epochs, FIFTHS),
            "class": np.repeat(np.arange(FIFTHS), len(epochs)),
            "value": means[last].T.ravel(),
        }
    )


def curvature_by_epoch(body: Mapping[str, Any], metric: str, root: str = ".") -> pd.DataFrame | None:
    """`lambda_max` or `share_beyond`, mean over the outer steps of each epoch: columns epoch, value; None if none."""
    name = CURVATURE[metric]
    search = of(body, name, root=root)
    if search is None:
        return None
    frame = pd.DataFrame({"epoch": search.epochs, "value": search.arrays[name]})
    means: pd.DataFrame = frame.groupby("epoch", as_index=False)["value"].mean()
    return means


def steps_beyond(body: Mapping[str, Any], root: str = ".") -> float | None:
    """The share of a run's outer steps with λ_max above 2; None if it logged none that is a number."""
    search = of(body, "lambda_max", root=root)
    if search is None:
        return None
    known = search.arrays["lambda_max"][np.isfinite(search.arrays["lambda_max"])]
    return float((known > LIMIT).mean()) if len(known) else None


def largest_step(body: Mapping[str, Any], root: str = ".") -> tuple[float, float] | None:
    """The largest change of one value of α from an outer step to the next, and the largest λ_max of the search.

    None if it took fewer than two outer steps, or one of them left a value that is no number.
    """
    names = body["spec"]["method_options"].get("design", ())
    search = of(body, *names, "lambda_max", root=root)
    if search is None or len(search.epochs) < 2:
        return None
    moves = [np.abs(np.diff(search.arrays[name], axis=0)).max() for name in names]
    found = float(np.max(moves)), float(np.max(search.arrays["lambda_max"]))
    return found if np.isfinite(found).all() else None


def log_largest_step(body: Mapping[str, Any], beyond: bool, root: str = ".") -> float | None:
    """log₁₀ of the largest step of α of a search whose λ_max ever exceeded 2, or never did; None of the others."""
    found = largest_step(body, root)
    if found is None or (found[1] > LIMIT) != beyond or found[0] <= 0:
        return None
    return float(np.log10(found[0]))


def errors_by_epoch(body: Mapping[str, Any], part: str) -> pd.DataFrame | None:
    """Balanced error on a part of the split after each evaluated epoch of the search: columns epoch, value."""
    curves = body["curves"]
    if f"{part}_balanced_accuracy" not in curves or len(body["stages"]) < 2:
        return None
    rows = zip(curves["epoch"], curves["stage"], curves[f"{part}_balanced_accuracy"], strict=True)
    kept = [(epoch, 1 - accuracy) for epoch, stage, accuracy in rows if stage == 0 and accuracy is not None]
    return pd.DataFrame(kept, columns=["epoch", "value"]) if kept else None


def seconds_of(body: Mapping[str, Any], stage: int) -> float | None:
    """Seconds of training in one stage of a finished run, -1 for its last; evaluation is left out.

    That of the last stage includes what the method does at its end.
    """
    curves = body["curves"]
    ends = [
        max((s for s, of in zip(curves["train_seconds"], curves["stage"], strict=True) if of == number), default=None)
        for number in range(len(body["stages"]))
    ]
    if body["status"] != "finished" or None in ends:
        return None
    times = np.diff([0.0, *ends])
    return float(times[stage])


def times(body: Mapping[str, Any], plain: Mapping[str, Any], metric: str) -> float | None:
    """Seconds of search and retraining, or of the search alone, over those of a plain training; None without both."""
    search, retraining, whole = seconds_of(body, 0), seconds_of(body, -1), seconds_of(plain, -1)
    if search is None or retraining is None or not whole:
        return None
    return (search + (retraining if metric == RATIOS[0] else 0.0)) / whole
