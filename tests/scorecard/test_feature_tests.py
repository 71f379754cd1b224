"""Claims about kept features, and settings in a claim's own order, on made-up records of ABSGD."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from support import synthetic_records
from support.absgd_figures import with_arrays

from reweigh import scorecard
from reweigh.config.loading import load
from reweigh.streams import rng

CLAIM = "falling-lambda-separates-better"
CELL = "paper/absgd/features/lt-rho100"


def features(seed: int, blur: float) -> tuple[np.ndarray, np.ndarray]:
    draw = rng(seed, "features", str(blur))
    labels = np.arange(90) % 3
    return (4 * np.eye(5)[labels] + blur * draw.normal(size=(90, 5))).astype(np.float16), labels


def agreement(x: np.ndarray, labels: np.ndarray) -> float:
    """Nearest neighbours of the same class, mean over classes, by loops; here no two are equally near."""
    x = x.astype(float)
    shares = []
    for label in range(3):
        mine = np.flatnonzero(labels == label)
        hits = [labels[np.argsort(((x - x[one]) ** 2).sum(1))[1]] == label for one in mine]
        shares.append(np.mean(hits))
    return float(np.mean(shares))


def fill(root: Path, blurs: dict[str, float], seeds: int = 4, diverged: tuple[str, int] | None = None) -> None:
    for method, blur in blurs.items():
        for seed in range(seeds):
            status = "diverged" if (method, seed) == diverged else "finished"
            run = f"{CELL}/{method}/seed{seed}"
            synthetic_records.make(root, run, status)
            (x, y), (xt, yt) = features(seed, blur), features(seed + 50, blur)
            with_arrays(root, run, train_features=x, train_labels=y, test_features=xt, test_labels=yt)


def line(root: Path):
    lines = scorecard.score(load(root), "paper", ["absgd"])
    return lines[lines["id"] == CLAIM].iloc[0]


def test_separation_is_compared_seed_by_seed_on_both_parts(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    fill(root, {"absgd_decay": 1.5, "absgd_fixed": 4.0}, seeds=3)
    found = line(root)
    gains = {
        part: [agreement(*features(seed + more, 1.5)) - agreement(*features(seed + more, 4.0)) for seed in range(3)]
        for part, more in (("training", 0), ("test", 50))
    }
    tests = {part: scipy_stats.ttest_1samp(values, 0) for part, values in gains.items()}
    weakest = max(tests, key=lambda part: tests[part].pvalue)
    assert found["effect"] == pytest.approx(np.mean(gains[weakest]))
    assert found["p"] == pytest.approx(tests[weakest].pvalue, rel=0.2)  # a floor on the spread may widen it
    assert (found["n"], found["verdict"]) == (3, "holds")
    assert all(f"{name} examples" in found["note"] for name in ("training", "test"))


def test_worse_separation_fails(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    fill(root, {"absgd_decay": 4.0, "absgd_fixed": 1.5}, seeds=3)
    assert line(root)["verdict"] == "fails"


def test_a_run_that_diverged_has_no_features(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    fill(root, {"absgd_decay": 1.5, "absgd_fixed": 4.0}, seeds=3, diverged=("absgd_fixed", 1))
    assert line(root)["n"] == 2


def test_growth_is_from_the_first_setting_that_the_claim_names(tmp_path: Path) -> None:
    """The experiment has ρ = 100 first, the claim ρ = 10."""
    root = synthetic_records.project(tmp_path / "project")
    for setting, gain in (("lt-rho100", 0.05), ("lt-rho10", 0.01)):
        for seed in range(3):
            for loss in ("ce", "focal", "ldam"):
                run = f"paper/absgd/meta-shared-cifar10/{setting}"
                level = 0.6 + 0.001 * seed
                synthetic_records.make(root, f"{run}/meta_{loss}/seed{seed}", test_accuracy=level)
                ours = level + gain + 0.0007 * seed * (setting == "lt-rho10")
                synthetic_records.make(root, f"{run}/absgd_cb{loss}/seed{seed}", test_accuracy=ours)
    lines = scorecard.score(load(root), "paper", ["absgd"])
    found = lines[lines["id"] == "gain-over-meta-grows-with-imbalance-cifar10"].iloc[0]
    assert found["effect"] == pytest.approx(0.04 - 0.0007) and found["verdict"] == "holds"
