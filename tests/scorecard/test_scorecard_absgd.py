"""The scorecard of ABSGD: percents, misprints, and the tests of claims that only it needs, by other arithmetic."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from support import synthetic_records

from reweigh import scorecard, stats
from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.data.arrays import npz_bytes
from reweigh.digest import file_digest
from reweigh.records import record
from reweigh.scorecard.claim_tests import explained_by
from reweigh.scorecard.evidence import Evidence
from reweigh.streams import rng

PLAIN = [0.700, 0.712, 0.690]


def accuracies(root: Path, cell: str, values: list[float]) -> None:
    for seed, value in enumerate(values):
        synthetic_records.make(root, f"paper/absgd/{cell}/seed{seed}", test_accuracy=value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of a few experiments at scale paper."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for setting, gain in (("lt-rho100", 0.02), ("lt-rho10", 0.0), ("st-rho100", 0.04), ("st-rho10", 0.01)):
        for loss in ("ce", "focal"):
            accuracies(root, f"cifar10/{setting}/sgd_{loss}", PLAIN)
            shifted = [value + gain + noise for value, noise in zip(PLAIN, (0.001, -0.001, 0.002), strict=True)]
            accuracies(root, f"cifar10/{setting}/absgd_{loss}", shifted)
    for number, gamma in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        near = [value + 1e-4 * (number + seed) for seed, value in enumerate(PLAIN)]
        accuracies(root, f"gamma-cifar10/lt-rho100/absgd_gamma{gamma}", near)
    accuracies(root, "gamma-cifar10/lt-rho100/sgd_ce", PLAIN)
    logits = {"sgd_ce": 0.58, "sgd_ce_norm": 0.67, "absgd_sce_norm": 0.66, "sgd_sce": 0.6, "sgd_sce_norm": 0.66}
    for (method, level), setting in itertools.product(logits.items(), ("sym0.2", "sym0.4")):
        noise = rng(0, setting, method).normal(0, 0.001, 3)
        accuracies(root, f"normalised-logits/{setting}/{method}", [level + one for one in noise])
    for setting, gain in (("sym0.2", 0.01), ("sym0.4", 0.03), ("asym0.2", 0.03), ("asym0.4", 0.01)):
        for method, more in (("sgd_sce", 0.0), ("eg_sce", 0.001), ("absgd_sce", gain)):
            noise = rng(0, setting, method).normal(0, 0.001, 5)
            accuracies(root, f"noise-cifar10/{setting}/{method}", [0.85 + more + one for one in noise])
    accuracies(root, "noise-cifar100/asym0.4/sgd_ce", [0.45, 0.451, 0.449, 0.452, 0.45])
    return root


@pytest.fixture(scope="module")
def lines(root: Path) -> pd.DataFrame:
    return scorecard.score(load(root), "paper", ["absgd"])


def line(lines: pd.DataFrame, name: str) -> pd.Series:
    return lines[lines["id"] == name].iloc[0]


# --- published numbers ---


def test_every_published_number_is_a_line(root: Path, lines: pd.DataFrame) -> None:
    numbers = lines[lines["kind"] == "number"].reset_index(drop=True)
    published = pd.read_csv(root / "data/published/absgd.csv")
    assert len(numbers) == len(published) == 207
    assert numbers["id"].is_unique
    assert (numbers["published"] * 100).tolist() == pytest.approx(published["mean"].tolist(), nan_ok=True)
    assert (numbers["published_sd"] * 100).tolist() == pytest.approx(published["std"].tolist(), nan_ok=True)
    assert set(numbers["metric"]) == {"test_accuracy"}


def test_percents_are_compared_with_fractions(lines: pd.DataFrame) -> None:
    found = line(lines, "Table1/cifar10/lt-rho100/sgd_ce/test_accuracy")
    assert (found["published"], found["published_sd"]) == pytest.approx((0.7175, 0.0075))
    assert found["difference"] == pytest.approx(np.mean(PLAIN) - 0.7175)
    assert pd.isna(found["gain"])
    ours = line(lines, "Table1/cifar10/lt-rho100/absgd_ce/test_accuracy")
    assert ours["gain"] == pytest.approx(0.02 + 0.002 / 3)
    assert ours["published_gain"] == pytest.approx(0.7243 - 0.7175)


def test_gains_of_table_2_are_from_plain_training_in_table_1(lines: pd.DataFrame) -> None:
    assert line(lines, "Table2/cifar10/lt-rho100/absgd_cbce/test_accuracy")["published_gain"] == pytest.approx(0.0759)


def test_a_misprint_is_shown_and_not_judged(root: Path, lines: pd.DataFrame) -> None:
    found = line(lines, "Table6/noise-cifar100/asym0.4/sgd_ce/test_accuracy")
    assert (found["verdict"], found["published"]) == ("not judged", 0.0045)
    assert found["mean"] == pytest.approx(0.4504)
    assert pd.isna(found["difference"])
    assert found["note"].startswith("a misprint")
    beside = line(lines, "Table6/noise-cifar100/asym0.4/sgd_sce/test_accuracy")
    assert pd.isna(beside["published_gain"])  # nothing is measured from a misprint
    text = scorecard.write("paper", root, ["absgd"]).text.read_text()
    assert "**not judged**" in text
    assert "a misprint, 0.45 %" in text


def test_numbers_of_methods_that_are_not_here(lines: pd.DataFrame) -> None:
    others = lines[(lines["kind"] == "number") & lines["experiment"].isna()]
    assert len(others) == 17
    assert set(others["verdict"]) == {"not judged", "not reported"}
    assert (others["note"] != "").all()
    assert sum(others["verdict"] == "not judged") == 4


def test_large_sets_say_why_they_were_not_run(lines: pd.DataFrame) -> None:
    numbers = lines[(lines["kind"] == "number") & lines["source"].isin(["Table3", "Table4", "Table5", "Table7"])]
    reasons = numbers[(numbers["verdict"] == "not run")]["note"]
    assert len(reasons) == 8 + 7 + 15 + 7
    placeholders = reasons.str.startswith("a placeholder, not the paper's method: ")
    assert sum(placeholders) == 3 + 3 + 4 and all(reasons[placeholders].str.len() > 100)
    assert all("data/raw/" in reason for reason in reasons[~placeholders])


# --- claims ---


def differences(root: Path, experiment: str, setting: str, better: str, worse: str) -> list[float]:
    frame = tables.load_cells(load(root), [f"paper/absgd/{experiment}/{setting}/{name}" for name in (better, worse)])
    wide = frame.pivot(index="seed", columns="method", values="test_accuracy")
    return (wide[better] - wide[worse]).tolist()


def test_pairs_at_every_setting(root: Path, lines: pd.DataFrame) -> None:
    found = line(lines, "better-than-sgd-cifar10")
    places = [
        scipy_stats.ttest_1samp(differences(root, "cifar10", setting, f"absgd_{loss}", f"sgd_{loss}"), 0)
        for setting in ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10")
        for loss in ("ce", "focal")
    ]
    weakest = max(place.pvalue / 2 if place.statistic > 0 else 1 - place.pvalue / 2 for place in places)
    assert found["p"] == pytest.approx(min(1.0, 2 * weakest))
    assert found["effect"] == pytest.approx(0.002 / 3)
    assert found["verdict"] == "inconclusive"
    assert "st-rho10, absgd_focal against sgd_focal" in found["note"]


def test_on_average(root: Path, lines: pd.DataFrame) -> None:
    """A t test on each seed's average over the eight places, which share seeds."""
    cells = [
        differences(root, "cifar10", setting, f"absgd_{loss}", f"sgd_{loss}")
        for setting in ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10")
        for loss in ("ce", "focal")
    ]
    averages = np.mean(cells, axis=0)
    test = scipy_stats.ttest_1samp(averages, 0)
    found = line(lines, "average-gain-cifar10")
    assert (found["effect"], found["statistic"], found["p"]) == pytest.approx(
        (averages.mean(), test.statistic, test.pvalue)
    )
    assert (found["effect_low"], found["effect_high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found["n"] == 3


def test_within_is_two_one_sided_tests(lines: pd.DataFrame) -> None:
    found = line(lines, "gamma-hardly-matters-cifar10")
    assert (found["verdict"], found["n"]) == ("holds", 3)
    values = [0.004, 0.006, -0.001, 0.002]
    ours = stats.within(values, 0.01)
    low = scipy_stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
    high = scipy_stats.ttest_1samp(values, 0.01, alternative="less").pvalue
    assert ours.p_for == pytest.approx(max(low, high))
    assert ours.p_against == pytest.approx(min(1.0, 2 * min(1 - low, 1 - high)))
    assert ours.effect == pytest.approx(np.mean(values))
    far = stats.within([0.05, 0.051, 0.049], 0.01)
    assert far.p_against < 0.01 < far.p_for
    assert stats.within([-0.05, -0.051, -0.049], 0.01).p_against == pytest.approx(far.p_against)
    assert stats.within([0.001], 0.01).p_for is None


def test_comparable_is_at_most_a_point_below(lines: pd.DataFrame) -> None:
    assert line(lines, "no-gamma-is-worse-than-sgd-cifar10")["verdict"] == "holds"


def test_explained_by_needs_a_gain_and_its_share(root: Path, lines: pd.DataFrame) -> None:
    found = line(lines, "logits-explain-the-gain")
    assert (found["verdict"], found["n"]) == ("holds", 3)
    whole, part = (
        np.array(differences(root, "normalised-logits", "sym0.4", name, "sgd_ce"))
        for name in ("absgd_sce_norm", "sgd_ce_norm")
    )
    assert f"{(part - 0.8 * whole).mean():+.4f} at sym0.4: sgd_ce_norm beyond 0.8 of that" in found["note"]
    assert f"{whole.mean():+.4f} at sym0.4: absgd_sce_norm over sgd_ce" in found["note"]
    assert line(lines, "gain-at-equal-logits")["verdict"] == "not run"  # ABSGD without normalised logits is missing


@pytest.mark.parametrize(
    ("full", "part", "verdict"),
    [(0.10, 0.09, "holds"), (0.10, 0.02, "fails"), (-0.10, 0.09, "fails"), (0.10, 0.05, "inconclusive")],
)
def test_what_explains_a_gain(root: Path, full: float, part: float, verdict: str) -> None:
    config = load(root)
    claim = next(one for one in config.paper("absgd").claims if one.id == "alpha-is-a-rate")
    noise = np.array([0.0001, -0.0001, 0.0])
    levels = {
        "sgd_ce": 0.5 + noise,
        "absgd_ce_alpha0.5": 0.5 + full + noise[[1, 2, 0]],
        "sgd_ce_rate2": 0.5 + part + (20 * noise[::-1] if part == 0.05 else -noise),
    }
    runs = pd.DataFrame(
        [
            ("lt-rho100", method, seed, value, f"{method}{seed}", "")
            for method, values in levels.items()
            for seed, value in enumerate(values)
        ],
        columns=["setting", "method", "seed", "test_accuracy", "run", "lost"],
    )
    found = stats.claim_p(explained_by(Evidence(config, claim, "paper", "absgd", runs, {})))
    assert stats.claim_verdict(*found, stats.two_sided(*found)) == verdict


def test_growth_from_the_first_setting_to_the_second(root: Path, lines: pd.DataFrame) -> None:
    rising, falling = (line(lines, f"gain-grows-with-noise-cifar10-{kind}") for kind in ("symmetric", "asymmetric"))
    gains = [differences(root, "noise-cifar10", setting, "absgd_sce", "sgd_sce") for setting in ("sym0.2", "sym0.4")]
    test = scipy_stats.ttest_1samp(np.array(gains[1]) - np.array(gains[0]), 0)
    assert (rising["effect"], rising["p"]) == pytest.approx((np.mean(gains[1]) - np.mean(gains[0]), test.pvalue))
    assert (rising["verdict"], falling["verdict"]) == ("holds", "fails")


def test_a_scale_with_one_of_two_settings_cannot_grow(root: Path) -> None:
    claims = scorecard.score(load(root), "smoke", ["absgd"])
    found = line(claims, "gain-grows-with-noise-cifar10-symmetric")
    assert (found["verdict"], found["note"]) == ("not run", "scale smoke has 1 of the 2 settings that it takes")


def test_costs_at_most_mirrors_costs_more(tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    for setting, method in itertools.product(
        ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10"), ("sgd_ce", "absgd_ce")
    ):
        for seed in range(3):
            body = synthetic_records.make(other, f"paper/absgd/cifar10/{setting}/{method}/seed{seed}")
            factor = (1.02 if method == "absgd_ce" else 1.0) * (1 + 0.001 * seed)
            rewritten(other, body, seconds=100.0 * factor)
    found = line(scorecard.score(load(other), "paper", ["absgd"]), "costs-what-sgd-costs")
    assert found["effect"] == pytest.approx(1.02)
    assert found["verdict"] == "holds"
    dear = stats.cost_ratio([1.3, 1.31, 1.29], [1.0, 1.0, 1.0], 1.1)
    mirrored = stats.opposite(dear)
    assert (mirrored.p_for, mirrored.p_against) == (dear.p_against, dear.p_for)
    assert mirrored.statistic == -dear.statistic
    assert mirrored.effect == dear.effect


@pytest.mark.parametrize("shared", ["all", "all of a setting", "one", "none"])
def test_runs_that_shared_a_gpu_decide_nothing_about_cost(tmp_path: Path, shared: str) -> None:
    other = synthetic_records.project(tmp_path / "project")
    settings = ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10")
    for setting, method, seed in itertools.product(settings, ("sgd_ce", "absgd_ce"), range(3)):
        body = synthetic_records.make(other, f"paper/absgd/cifar10/{setting}/{method}/seed{seed}")
        among = {"all": True, "all of a setting": setting == "st-rho10", "one": seed == 0, "none": False}[shared]
        device = {**body["device"], "kind": "cuda", "runs_at_once": 4 if among and method == "absgd_ce" else 1}
        # Beside others, or alone: each seed another ratio, of which the first is far off.
        rewritten(other, body, device=device, seconds=100.0 * (9 if among else 1 + 0.001 * seed))
    found = line(scorecard.score(load(other), "paper", ["absgd"]), "costs-what-sgd-costs")
    if shared.startswith("all"):
        place = "lt-rho100" if shared == "all" else "st-rho10"
        assert found["verdict"] == "not run" and f"the runs at {place} against sgd_ce shared a GPU" in found["note"]
        assert "--at-once 1" in found["note"] and pd.isna(found["effect"])
    else:
        assert found["verdict"] == "holds" and found["effect"] == pytest.approx(1.0)
        assert found["n"] == (2 if shared == "one" else 3)


def test_weights_of_rare_classes(tmp_path: Path) -> None:
    """Epochs before the switch do not count; each example counts the same, each epoch the same."""
    other = synthetic_records.project(tmp_path / "project")
    for setting, seed in itertools.product(("lt-rho100", "st-rho100"), range(3)):
        body = synthetic_records.make(other, f"paper/absgd/weights/{setting}/absgd_ce/seed{seed}")
        means, counts = np.ones((200, 4)), np.tile([30.0, 10.0, 3.0, 1.0], (200, 1))
        means[160:] = [0.5, 1.0, 2.0, 4.0 + seed]
        rewritten(other, body, arrays={"mean_weights": means, "weighted_examples": counts})
    found = line(scorecard.score(load(other), "paper", ["absgd"]), "rare-classes-weigh-more")
    ratios = [((6 + 4 + seed) / 4) / (25 / 40) for seed in range(3)]
    assert found["effect"] == pytest.approx(np.mean(ratios))
    assert found["p"] == pytest.approx(scipy_stats.ttest_1samp(ratios, 1.0).pvalue)
    assert (found["n"], found["metric"]) == (3, "mean_weights")


def rewritten(root: Path, body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, **changes: Any) -> None:
    """Write a made-up record again with other values, and with arrays beside it."""
    path = record.record_path(body["run"], root)
    if arrays:
        trace = path.with_suffix(".npz")
        trace.write_bytes(npz_bytes({name: array.astype(np.float32) for name, array in arrays.items()}))
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        changes["trace"] = {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes}
    record.write(path, {**body, **changes})
