"""ABSGD's figures that nothing is trained for: the toy of Fig. 1 and the class sizes of Fig. 2."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.absgd_figures import texts

from reweigh import stats
from reweigh.config.loading import load
from reweigh.plots import sizes
from reweigh.plots.figure import Figure
from reweigh.plots.papers.absgd import toy_draws, toy_step


@pytest.fixture(scope="module")
def root(absgd_project):
    return absgd_project


@pytest.fixture(scope="module")
def rendered(absgd_rendered):
    return absgd_rendered


# --- figure 1 --------------------------------------------------------------------------------------------------------

PAPER = {"lambda_": 0.2, "rate": 0.1, "start": (5.993, 6.140, -8.033),
         "batch": (46, 107, 11, 119, 1, 32, 68, 4, 110, 83, 115, 62, 56, 9, 14, 100)}  # fmt: skip


def test_fig1_draws_one_step_of_both(rendered: dict[str, Figure]) -> None:
    data = rendered["fig1"].rows
    for method, panel in data[data["panel"] != "c"].groupby("method"):
        batch = panel[panel["metric"] == "weight"].set_index("example").loc[list(PAPER["batch"])]
        assert len(panel[panel["metric"] == "example"]) == 120 - 16
        assert (batch["class"] == np.where(batch.index < 20, 1, -1)).all()
        w, gradient = PAPER["start"], [0.0, 0.0, 0.0]
        margins = [w[0] * x + w[1] * y + w[2] for x, y in zip(batch["x"], batch["y"], strict=True)]
        losses = [math.log1p(math.exp(-y * m)) for y, m in zip(batch["class"], margins, strict=True)]
        raised = [math.exp(loss / PAPER["lambda_"]) if method == "absgd_ce" else 1.0 for loss in losses]
        assert batch["weight"].tolist() == pytest.approx([one / sum(raised) for one in raised], rel=1e-10)
        for p, x, y, label, margin in zip(
            batch["weight"], batch["x"], batch["y"], batch["class"], margins, strict=True
        ):
            slope = -p * label / (1 + math.exp(label * margin))
            gradient = [g + slope * c for g, c in zip(gradient, (x, y, 1.0), strict=True)]
        lines = panel[panel["metric"] == "decision_line"].groupby("note")
        moved = [a - PAPER["rate"] * g for a, g in zip(w, gradient, strict=True)]
        for when, line in (("before", w), ("after", moved)):
            ends = lines.get_group(when)
            heights = line[0] * ends["x"] + line[1] * ends["y"] + line[2]
            assert heights.tolist() == pytest.approx((0, 0), abs=1e-12)
    assert "drawn anew" in texts(rendered["fig1"])


def test_fig1_measures_its_claim_over_many_draws(rendered: dict[str, Figure], root: Path) -> None:
    """How many positives are right after one step, by loops, draw by draw: one draw cannot say it."""
    data = rendered["fig1"].rows
    draws = data[data["panel"] == "c"]
    options = load(root).artifact("absgd", "fig1").options
    assert options["draws"] == 1000 and (draws["n"] == 1000).all()
    right = [positives_right(options, seed) for seed in range(60)]
    known = toy_draws.outcomes(json.dumps({**options, "draws": 60}, sort_keys=True))
    for method in ("", "sgd_ce", "absgd_ce"):
        assert known[method]["positives"].tolist() == [one[method] for one in right]
    everything = toy_draws.outcomes(json.dumps(options, sort_keys=True))
    for method, title in (("", "before the step"), ("sgd_ce", "SGD"), ("absgd_ce", "ABSGD")):
        counts = everything[method]["positives"]
        row = draws[(draws["metric"] == "positives_right") & (draws["method"] == method)].iloc[0]
        ours = stats.summarise(counts / 20)
        assert (row["x"], row["low"], row["high"]) == pytest.approx((ours.mean, ours.low, ours.high))
        assert f"{title}: {100 * ours.mean:.1f} % of the positives right" in texts(rendered["fig1"])
        bars = draws[(draws["metric"] == "draws_by_positives_right") & (draws["method"] == method)].set_index("x")["y"]
        assert bars.loc[2] == pytest.approx((counts == 2).mean()) and bars.sum() == pytest.approx(1)
    more = everything["absgd_ce"]["positives"] > everything["sgd_ce"]["positives"]
    assert draws[draws["metric"] == "draws_with_more_positives_right"]["x"].item() == more.mean()
    assert f"in {100 * more.mean():.1f} % of the draws" in texts(rendered["fig1"])


def positives_right(options: dict[str, Any], seed: int) -> dict[str, int]:
    """Positives on the right side before the step, after SGD's and after ABSGD's, in one draw."""
    inputs, labels = toy_step.examples(options["positives"], options["negatives"], options["divisor"], seed)
    start, found = options["start"], {}
    batch = [(inputs[i].tolist(), labels[i]) for i in options["batch"]]
    losses = [math.log1p(math.exp(-y * sum(a * b for a, b in zip(start, x, strict=True)))) for x, y in batch]
    raised = [math.exp(loss / options["lambda_"]) for loss in losses]
    for method, weights in (
        ("", [0.0] * 16),
        ("sgd_ce", [1 / 16] * 16),
        ("absgd_ce", [r / sum(raised) for r in raised]),
    ):
        w = list(start)
        for p, (x, y) in zip(weights, batch, strict=True):
            slope = -y / (1 + math.exp(y * sum(a * b for a, b in zip(start, x, strict=True))))
            w = [one - options["learning_rate"] * p * slope * c for one, c in zip(w, x, strict=True)]
        found[method] = sum(sum(a * b for a, b in zip(w, x, strict=True)) > 0 for x in inputs[:20].tolist())
    return found


# --- figure 2 --------------------------------------------------------------------------------------------------------


def test_fig2_draws_the_class_sizes_of_the_protocols(rendered: dict[str, Figure]) -> None:
    data = rendered["fig2"].rows
    known = {title: rows["y"].tolist() for title, rows in data[data["y"].notna()].groupby("title")}
    tail = next(counts for title, counts in known.items() if title.startswith("CIFAR-100"))
    step = next(counts for title, counts in known.items() if title.startswith("CIFAR-10, ST"))
    assert (tail[:5], tail[-4:], sum(tail)) == ([500, 477, 455, 434, 415], [5, 5, 5, 5], 10_847)
    assert (step, sum(step)) == ([5000] * 5 + [500] * 5, 27_500)
    absent = data[data["status"] == "not run"]
    assert {title.split()[0] for title in absent["title"]} >= {"ImageNet-LT", "iNaturalist"}
    assert "not drawn" in texts(rendered["fig2"])


def test_fig2_draws_by_its_law_what_cannot_be_counted(rendered: dict[str, Figure], root: Path) -> None:
    data, written = rendered["fig2"].rows, texts(rendered["fig2"])
    laws = data[data["metric"] == "training_examples_by_law"]
    for experiment, law in load(root).artifact("absgd", "fig2").options["laws"].items():
        curve = laws[laws["experiment"] == experiment]["y"].to_numpy()
        assert len(curve) == law["classes"] and curve.sum() == pytest.approx(law["examples"])
        assert curve.max() <= law["largest"] and curve.min() == law["smallest"]
        assert (np.diff(curve) <= 0).all()
        inside = curve[(curve < law["largest"]) & (curve > law["smallest"])]  # where nothing is cut off
        ranks = (np.flatnonzero(curve == inside[0])[0] + 0.5 + np.arange(len(inside))) / law["classes"]
        scale = inside / (ranks ** (-1 / law["shape"]) - 1)
        assert scale == pytest.approx(np.full(len(inside), scale[0]))  # one scale: a Pareto law of the second kind
    assert "ImageNet-LT: drawn by its law alone" in written and "iNaturalist 2018: not drawn" in written
    assert "Dotted: not counted" in written


def test_fig2_says_how_far_the_law_is_from_a_list_that_is_at_hand() -> None:
    law = np.array([80.0, 10.0, 4.0])
    assert sizes._miss("Places-LT", np.array([200, 12, 4]), law) == (
        "off by a factor of 1.2 in the median class of Places-LT, of 2.5 in its largest"
    )
