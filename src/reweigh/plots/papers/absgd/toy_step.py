"""The arithmetic of ABSGD's toy: a linear classifier of two classes, logistic loss, one step by given weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reweigh.streams import rng


def examples(
    positives: Mapping[str, float], negatives: Mapping[str, float], divisor: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The data, positives first: inputs float64 (n, 3), the third a one for the bias; labels +1 or −1 (n,).

    Both coordinates of `count` points a side are normal with `mean` and `sd`, and divided by `divisor`.
    """
    random, sides = rng(seed, "toy"), (positives, negatives)
    points = np.concatenate([random.normal(one["mean"], one["sd"], (int(one["count"]), 2)) for one in sides]) / divisor
    labels = np.repeat([1.0, -1.0], [int(one["count"]) for one in sides])
    return np.column_stack([points, np.ones(len(points))]), labels


def losses(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logistic losses ln(1 + exp(−y w·x)). (3,), (B, 3), (B,) -> (B,)."""
    return np.logaddexp(0.0, -labels * (inputs @ w))


def attention(values: np.ndarray, lambda_: float) -> np.ndarray:
    """ABSGD's weights in one batch with γ = 1: softmax of losses / λ. (B,) -> (B,), sum 1."""
    tilted = np.exp((values - values.max()) / lambda_)
    return tilted / tilted.sum()


def step(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, rate: float) -> np.ndarray:
    """w − rate Σ_i weight_i ∇ℓ_i(w), with ∇ℓ_i = −y_i x_i / (1 + exp(y_i w·x_i)). -> (3,)."""
    slopes = -labels / (1 + np.exp(labels * (inputs @ w)))
    return w - rate * (weights * slopes) @ inputs


def moved(options: Mapping[str, Any], inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The classifier (3,) after one step of SGD and of ABSGD from the same start on the same batch, by method."""
    start, batch = np.array(options["start"], float), np.array(options["batch"])
    picked, signs = inputs[batch], labels[batch]
    return {
        method: step(start, picked, signs, weights, options["learning_rate"])
        for method, weights in weights_of(options, inputs, labels).items()
    }


def weights_of(options: Mapping[str, Any], inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What each example of the batch weighs, (B,), by method."""
    start, batch = np.array(options["start"], float), np.array(options["batch"])
    attentive = attention(losses(start, inputs[batch], labels[batch]), options["lambda_"])
    return {"sgd_ce": np.full(len(batch), 1 / len(batch)), "absgd_ce": attentive}
