"""The parts of ABSGD's figures that compute something, by hand, by brute force, by finite differences, in float64."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from reweigh.digest import file_digest
from reweigh.plots import features, sizes
from reweigh.plots.papers.absgd import toy_step as toy

START = np.array([5.993, 6.140, -8.033])


def test_toy_weights_of_two_points_by_hand() -> None:
    """A positive at (60, 60) has w·x = 0.6 · 12.133 − 8.033 = −0.7532, a negative at (40, 40) has −3.1798."""
    inputs = np.array([[0.6, 0.6, 1.0], [0.4, 0.4, 1.0]])
    found = toy.losses(START, inputs, np.array([1.0, -1.0]))
    expected = math.log(1 + math.exp(0.7532)), math.log(1 + math.exp(-3.1798))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found == pytest.approx((1.13905, 0.04075), abs=5e-6)
    first = 1 / (1 + math.exp((expected[1] - expected[0]) / 0.2))
    assert toy.attention(found, 0.2) == pytest.approx((first, 1 - first), rel=1e-12)
    assert first == pytest.approx(0.9959, abs=5e-5)


def test_toy_step_follows_the_gradient_of_the_weighted_loss() -> None:
    draw = np.random.default_rng(3)
    w, inputs, labels = draw.normal(size=3), draw.normal(size=(7, 3)), np.sign(draw.normal(size=7))
    weights = toy.attention(toy.losses(w, inputs, labels), 0.7)
    total = [
        (weights @ toy.losses(w + h, inputs, labels) - weights @ toy.losses(w - h, inputs, labels)) / 2e-6
        for h in 1e-6 * np.eye(3)
    ]
    assert (w - toy.step(w, inputs, labels, weights, 0.1)) / 0.1 == pytest.approx(total, rel=1e-6)


def test_toy_weights_are_finite_where_exp_is_not() -> None:
    weights = toy.attention(np.array([3000.0, 2999.0, 0.0]), 0.2)
    assert weights == pytest.approx((1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5)), 0))


def test_toy_data_follow_the_stated_distributions() -> None:
    sides = {"count": 20_000, "mean": 60, "sd": 5}, {"count": 30_000, "mean": 40, "sd": 10}
    inputs, labels = toy.examples(*sides, 100, 0)
    assert (labels[:20_000] == 1).all()
    assert (labels[20_000:] == -1).all()
    assert inputs[:20_000, :2].mean(0) == pytest.approx((0.6, 0.6), abs=0.002)
    assert inputs[20_000:, :2].std(0) == pytest.approx((0.1, 0.1), abs=0.002)
    assert (inputs[:, 2] == 1).all()
    again, other = (toy.examples(*sides, 100, seed)[0] for seed in (0, 1))
    assert (inputs == again).all()
    assert not (inputs == other).all()


def test_a_list_is_counted_only_if_it_is_what_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "".join(f"train/{name}/1.jpg {label}\n" for name, label in (("a", 0), ("a", 0), ("b", 2)))
    path = tmp_path / "lists/train.txt"
    path.parent.mkdir()
    path.write_text(content)
    (tmp_path / "data").mkdir()
    file = {"name": "train.txt", "sha256": file_digest(path), "mirror": "lists/train.txt"}
    entry = {
        "title": "", "papers": [], "licence": "", "citation": "", "homepage": "", "click_through": False,
        "editions": {"lists": {"files": [file]}},
    }  # fmt: skip
    (tmp_path / "data/manifest.yaml").write_text(json.dumps({"datasets": {"some": entry}}))
    monkeypatch.setenv("REWEIGH_MIRROR", "")
    assert sizes.training_list("some", tmp_path) is None
    monkeypatch.setenv("REWEIGH_MIRROR", str(tmp_path))
    assert sizes.training_list("some", tmp_path) == path
    path.write_text(content + "train/b/2.jpg 2\n")
    assert sizes.training_list("some", tmp_path) is None


def test_neighbour_agreement_is_the_mean_over_classes_of_brute_force() -> None:
    draw = np.random.default_rng(0)
    x, labels = draw.normal(size=(40, 3)), draw.integers(0, 4, 40)
    labels[0] = 9  # alone in its class: counts as a neighbour, has no share of its own
    x[5], x[6] = x[4], x[4]  # equally near: they share the vote
    same: dict[int, list[float]] = {}
    for i in range(40):
        far = {j: float(((x[i] - x[j]) ** 2).sum()) for j in range(40) if j != i}
        nearest = [j for j in far if far[j] == min(far.values())]
        same.setdefault(int(labels[i]), []).append(float(np.mean([labels[i] == labels[j] for j in nearest])))
    expected = np.mean([np.mean(found) for label, found in same.items() if label != 9])
    assert features.neighbour_agreement(x, labels) == pytest.approx(expected)


def test_tsne_is_the_same_each_time_and_keeps_clusters_apart() -> None:
    draw, labels = np.random.default_rng(5), np.arange(60) % 3
    x = (20 * np.eye(8)[labels] + draw.normal(size=(60, 8))).astype(np.float16)
    places = features.embed(x, 15.0, 0)
    assert places.shape == (60, 2)
    assert (places == features.embed(x, 15.0, 0)).all()
    assert features.neighbour_agreement(places, labels) == 1
