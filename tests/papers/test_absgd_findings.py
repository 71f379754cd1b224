"""The numbers of ABSGD's findings, computed again from its published numbers and by drawing its noise."""

import statistics

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind_from_stats
from support.project import ROOT

from reweigh.data import noise
from reweigh.streams import rng

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    return pd.read_csv(ROOT / "data/published/absgd.csv")


@pytest.fixture(scope="module")
def said(config) -> dict[str, str]:
    """Text and evidence of each finding."""
    return {one.id: f"{one.text} | {one.evidence}" for one in config.paper("absgd").findings}


def table(printed: pd.DataFrame, name: str, column: str = "mean") -> pd.DataFrame:
    """A table of the paper: a line for each data set and setting, a column for each method."""
    rows = printed[printed["table_or_figure"] == name]
    return rows.pivot(index=["dataset", "setting"], columns="method", values=column).sort_index()


def welch(printed: pd.DataFrame, name: str, ours: str, other: str, n: int) -> pd.Series:
    """p of each cell, two-sided, from the printed means and deviations over n runs."""
    means, sds = table(printed, name), table(printed, name, "std")
    p = ttest_ind_from_stats(means[ours], sds[ours], n, means[other], sds[other], n, equal_var=False).pvalue
    return pd.Series(p, means.index)


def test_what_the_docs_count_is_what_the_config_has(config, printed: pd.DataFrame) -> None:
    paper, page = config.paper("absgd"), " ".join((ROOT / "docs/found.md").read_text().split())
    counted = (
        f"{len(printed)} published numbers, {len(paper.claims)} claims and {len(paper.findings)} slips of the paper"
    )
    assert counted in page


def test_gains_of_table_1_against_their_noise(printed: pd.DataFrame, said: dict[str, str]) -> None:
    means = table(printed, "Table1")
    gains = [means[f"ABSGD({loss})"] - means[f"SGD({loss})"] for loss in ("CE", "Focal")]
    ps = sorted(p for loss in ("CE", "Focal") for p in welch(printed, "Table1", f"ABSGD({loss})", f"SGD({loss})", 3))
    below = [p for p in ps if p < 0.05]
    text = said["gains-within-the-noise"]
    assert (len(below), len(ps)) == (5, 16) and "5 of the 16" in text
    assert f"p of {', '.join(f'{p:.3f}' for p in below[:-1])}, {below[-1]:.3f}" in text
    assert f"the other eleven {ps[5]:.2f} to {ps[-1]:.2f}" in text
    assert f"median gain {statistics.median(pd.concat(gains)):.2f}" in text


def test_gains_of_table_7(printed: pd.DataFrame, said: dict[str, str]) -> None:
    rows = printed[printed["table_or_figure"] == "Table7"].set_index("method")
    text, found = said["table7-gains"], {}
    for loss, other in (("TCE", "EG"), ("TCE", "SGD"), ("SCE", "SGD"), ("SCE", "EG")):
        sides = [rows.loc[f"{name}({loss})", ["mean", "std"]].tolist() for name in ("ABSGD", other)]
        p = ttest_ind_from_stats(*sides[0], 3, *sides[1], 3, equal_var=False).pvalue
        found[loss, other] = (round(sides[0][0] - sides[1][0], 2), p)
    assert found["TCE", "EG"][0] == 0.03 and f"p is {found['TCE', 'EG'][1]:.2f}" in text
    assert sum(p < 0.05 for _, p in found.values()) == 1
    for (loss, other), (gain, p) in found.items():
        if (loss, other) != ("TCE", "EG"):
            assert f"{gain} (p {p:.2f}, {loss})" in text
    assert rows.loc[["SGD(CE)", "ABSGD(CE)"], "mean"].isna().all()


def test_the_jump_of_eg(printed: pd.DataFrame, said: dict[str, str]) -> None:
    means = table(printed, "Table6")
    gains = (means["EG(SCE)"] - means["SGD(SCE)"]).sort_values().round(2).tolist()
    largest, others = gains[-1], gains[:-1]
    text = said["eg-jumps"]
    assert (largest, len(others)) == (6.54, 7)
    assert 3 < largest / others[-1] < 3.5 and "three times" in text
    assert 6.5 < largest / statistics.mean(others) < 7.5 and "seven times" in text
    assert (
        f"{others[-1]} (asymmetric 0.2); all seven {others[0]:.2f} to {others[-1]}, mean {statistics.mean(others):.2f}"
        in text
    )


def test_tce_against_sce(printed: pd.DataFrame, said: dict[str, str]) -> None:
    ahead = table(printed, "Table6")
    ahead = (ahead["SGD(TCE)"] - ahead["SGD(SCE)"]).round(2)
    assert (ahead["CIFAR10-noisy"] < 0).all() and (ahead["CIFAR100-noisy"] > 0).sum() == 3
    assert all(f"= {gain:.2f}" in said["sce-is-not-the-best-baseline"] for gain in ahead["CIFAR100-noisy"])


def test_where_absgd_is_not_ahead(printed: pd.DataFrame, said: dict[str, str]) -> None:
    means = table(printed, "Table2")
    losses = ("CB-CE", "CB-Focal", "CB-LDAM")
    behind = {loss: means[means[f"ABSGD({loss})"] < means[f"SGD({loss})"]] for loss in losses}
    (loss,) = [name for name, rows in behind.items() if len(rows)]
    assert loss == "CB-LDAM" and behind[loss].index.tolist() == [("CIFAR100-ST", "model=ResNet32;imb=ST;rho=10")]
    beaten = [(row[f"META({one})"], row[f"ABSGD({one})"]) for one in losses for _, row in means.iterrows()]
    beaten = [pair for pair in beaten if pair[0] > pair[1]]
    assert len(beaten) == 3 and all(f"{a:.2f} against {b:.2f}" in said["not-always-better"] for a, b in beaten)


def test_gain_over_meta_by_imbalance(printed: pd.DataFrame, config) -> None:
    means, larger = table(printed, "Table2"), []
    for name in ("CIFAR10-LT", "CIFAR100-LT"):
        for loss in ("CB-CE", "CB-Focal", "CB-LDAM"):
            ten, hundred = (
                means.loc[(name, f"model=ResNet32;imb=LT;rho={rho}"), f"ABSGD({loss})"]
                - means.loc[(name, f"model=ResNet32;imb=LT;rho={rho}"), f"META({loss})"]
                for rho in (10, 100)
            )
            larger.append(hundred > ten)
    (claim,) = [one for one in config.paper("absgd").claims if one.id == "gain-over-meta-grows-with-imbalance-cifar10"]
    assert (sum(larger), len(larger)) == (4, 6) and "four of six" in claim.source


def test_differences_that_the_text_states(printed: pd.DataFrame, said: dict[str, str]) -> None:
    one = table(printed, "Table1")
    for name, kind, losses in (("CIFAR10-ST", "ST", (3.12, 1.72)), ("CIFAR100-LT", "LT", (1.42, 0.32))):
        row = one.loc[(name, f"model=ResNet32;imb={kind};rho=100")]
        assert tuple(round(row[f"ABSGD({loss})"] - row[f"SGD({loss})"], 2) for loss in ("CE", "Focal")) == losses
        assert f"{losses[0]:.2f} (CE), {losses[1]:.2f} (Focal)" in said["more-than-two-percent"]
    six = table(printed, "Table6").loc["CIFAR10-noisy"]
    for rate, gain in ((0.2, 1.10), (0.4, 0.82)):
        row = six.loc[f"model=SCE-CNN;noise=symmetric;rate={rate}"]
        assert round(row["ABSGD(SCE)"] - row["SGD(SCE)"], 2) == gain and f"= {gain:.2f} at" in said["gain-that-falls"]
    four = printed[printed["table_or_figure"] == "Table4"].set_index("method")["mean"]
    assert (
        round(four["ABSGD"] - four["tau-normalized"], 1) == 0.8
        and "38.7 - 37.9 = 0.8" in said["another-net-another-difference"]
    )


def test_resampling_against_plain_training(printed: pd.DataFrame, said: dict[str, str]) -> None:
    plain, resampled = table(printed, "Table1")["SGD(CE)"], table(printed, "Table2")["Resampling(CE)"]
    tails = [key for key in plain.index if "LT" in key[0]]
    assert max(abs(resampled[key] - plain[key]) for key in tails) < 0.7
    text = said["resampling-that-is-none"].replace("\n", " ")
    assert all(f"{resampled[key]:.2f} and {plain[key]:.2f}" in text for key in tails)


def test_class_weights_from_the_start(printed: pd.DataFrame, said: dict[str, str]) -> None:
    key = ("CIFAR100-ST", "model=ResNet32;imb=ST;rho=100")
    two, one = table(printed, "Table2").loc[key], table(printed, "Table1").loc[key]
    numbers = (two["SGD(CB-CE)"], two["SGD(CB-Focal)"], one["SGD(CE)"], two["ABSGD(CB-CE)"])
    assert all(f"{number:.2f}" in said["class-weights-from-the-start"] for number in numbers)
    assert max(numbers[:2]) < one["SGD(CE)"] - 15


def test_the_misprint_and_its_neighbours(printed: pd.DataFrame, said: dict[str, str]) -> None:
    row = table(printed, "Table6").loc[("CIFAR100-noisy", "model=ResNet34;noise=asymmetric;rate=0.4")]
    assert row["SGD(CE)"] == 0.45
    assert row.drop("SGD(CE)").between(46, 50).all() and "46 to 50" in said["lost-digits"]


def test_asymmetric_noise_is_half_the_stated_rate(said: dict[str, str]) -> None:
    labels = np.repeat(np.arange(10), 5000)
    for rate, clean, ported in ((0.2, 0.1, 0.096), (0.4, 0.2, 0.185)):
        ours = noise.asymmetric(labels, CIFAR10, rate, rng(0, "test"))
        theirs = noise.asymmetric_ported(labels, CIFAR10, rate, rng(0, "test"))
        assert (ours != labels).mean() == pytest.approx(clean)
        assert (theirs != labels).mean() == pytest.approx(ported, abs=0.002)
        assert str(ported) in said["half-the-noise"]
