"""TDR's Figure 1, computed: its gradients, its weights and its shares against a second, plain computation."""

import math

import numpy as np
import pandas as pd
import pytest
from support.drawing import draw_artifact
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.plots.papers.tdr import boundary

OPTIONS = load(ROOT).artifact("tdr", "fig1").options


def test_the_gradients_of_the_toy_are_those_of_its_loss() -> None:
    points = boundary.draw_points(OPTIONS, "target")
    theta = np.array([0.3, -0.7, 0.2])

    def losses(at: np.ndarray) -> np.ndarray:
        signs = np.where(points.classes == 0, 1, -1)
        return np.logaddexp(0, -signs * (points.inputs @ at[:2] + at[2]))

    small = 1e-6
    numeric = [(losses(theta + small * e) - losses(theta - small * e)) / (2 * small) for e in np.eye(3)]
    assert boundary.gradients(theta, points) == pytest.approx(np.array(numeric).T, abs=1e-6)


def test_a_step_of_the_toys_weights_is_the_papers() -> None:
    """Against a difference quotient of the target loss after the look-ahead, without the normalisation (eq. 9)."""
    train, target = (boundary.draw_points(OPTIONS, part) for part in ("train", "target"))
    options = {**OPTIONS, "steps": 1, "t_in": 1}
    _, trace = boundary.descend(train, target, options)
    count, inner = len(train.classes), options["inner_rate"]

    def target_loss(theta: np.ndarray) -> float:
        signs = np.where(target.classes == 0, 1, -1)
        return float(np.logaddexp(0, -signs * (target.inputs @ theta[:2] + theta[2])).mean())

    of_each = boundary.gradients(np.zeros(3), train)
    start = -inner * boundary.weights_of(np.full(2, 0.5), train.classes) @ of_each
    moved = []
    for label in range(2):
        step = -inner / count * of_each[train.classes == label].sum(0)
        slope = (target_loss(start + 1e-6 * step) - target_loss(start - 1e-6 * step)) / 2e-6
        moved.append(0.5 - options["outer_rate"] * slope)
    assert trace[1] == pytest.approx(np.array(moved) / sum(moved), abs=1e-8)


def test_the_share_on_the_right_side_is_that_of_many_points() -> None:
    theta = np.array([1.0, 0.4, -1.2])
    many = {**OPTIONS, "sizes": {"rare": 200_000, "frequent": 200_000}, "seed": 1}
    points = boundary.draw_points(many, "train")
    right = (points.inputs @ theta[:2] + theta[2] > 0) == (points.classes == 0)
    assert boundary.balanced_accuracy(theta, many) == pytest.approx(right.mean(), abs=0.003)


def test_the_cartoon_shows_what_the_paper_says_of_it() -> None:
    rows = pd.DataFrame(boundary.toy_rows(OPTIONS))
    shares = rows[rows["metric"] == boundary.ACCURACY].set_index("method")["y"]
    assert shares["none"] < shares["tdr"] <= shares["best"]
    weights = rows[rows["metric"] == "weight"]
    sums = weights.groupby("x")["y"].sum()
    assert sums.to_numpy() == pytest.approx(1) and math.isclose(weights["y"].iloc[0], 0.5)
    figure = draw_artifact(ROOT, "paper", "tdr", "fig1")
    written = " ".join(text.get_text() for text in figure.picture.texts)
    assert f"{shares['tdr']:.3f}" in written and "mean" not in figure.rows
