"""What does not fit together in TDR's paper: its numbers are those of the files and of the data."""

import csv
import re

import numpy as np
import pytest
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.data import load as data
from reweigh.data.split import draw

FINDINGS = {finding.id: finding for finding in load(ROOT).paper("tdr").findings}
with open(ROOT / "data/published/tdr.csv", newline="") as file:
    PUBLISHED = list(csv.DictReader(file))


def said(*ids):
    return " ".join(f"{FINDINGS[one].text} {FINDINGS[one].evidence}" for one in ids)


def printed(table, method, *words):
    """Means and sds of a method in a table, of the rows that have all the words in their setting, as printed."""
    rows = [row for row in PUBLISHED if (row["table_or_figure"], row["method"]) == (table, method)]
    return [(row["mean"], row["std"]) for row in rows if all(word in row["setting"] for word in words)]


@pytest.fixture(scope="module")
def adult(raw_root):
    return data.read("adult", root=raw_root)


def test_a_constant_on_as_many_women_as_men_scores_what_is_said(adult):
    """The mean over the test sets of our five seeds: the share of the more frequent label of the training set."""
    spec = load(ROOT).resolve("paper/tdr/adult/sex/constant/seed0")["data"]["split"]
    shares = []
    for seed in range(5):
        split = draw(adult, spec, seed)
        frequent = np.bincount(split.train.label).argmax()
        shares.append(float(np.mean(split.test.label == frequent)))
    assert f"scores {np.mean(shares):.4f} (mean of our five test sets)" in FINDINGS["constant-predictor"].text


def test_plain_training_scores_the_share_of_the_frequent_label_of_the_training_set(adult):
    counts = np.bincount(adult.train_labels)
    text = said("constant-predictor")
    assert f"{counts[0]:,} of {counts.sum():,} training rows earn at most 50K ({counts[0] / counts.sum():.4f})" in text
    (plain, tdr) = (printed("Table3", method)[0][0] for method in ("NoReweighting", "TDR"))
    assert f"{counts[0] / counts.sum():.4f}" == plain and f"{plain} reported" in text and f"TDR {tdr}" in text
    assert FINDINGS["rates-without-numbers"].evidence.startswith(f"two numbers, {plain} and {tdr},")


def test_the_numbers_of_tables_are_those_of_the_published_file():
    known = {value for row in PUBLISHED for value in (row["mean"], row["std"])}
    for one in ("equal-deviations", "deviation-above-mean", "repeated-deviation", "below-chance", "weak-baselines"):
        for number in re.findall(r"\b0\.\d{3,}\b", FINDINGS[one].evidence):
            assert number in known, (one, number)
    (_, sd), *_ = printed("Table2", "RandomWeights", "ResNet20", "rho=0.1")
    assert float(sd) > 0.0908 and "0.0908" in said("deviation-above-mean")
    for method in ("TDR", "HardWeighting", "RandomWeights", "NoReweighting"):
        ((_, one), (_, other)) = printed("Table2", method, "ConvNet")
        assert one == other and f"{float(one):g}/{float(other):g}" in said("equal-deviations")


def test_text_and_table_1_contradict_each_other_at_two_ratios():
    """At every ratio: "better than random weights, but cannot even beat the learning without any weights"."""
    against = []
    for rho in (0.3, 0.2, 0.1, 0.05):
        er, rand, none = (
            printed("Table1", method, "ConvNet", f"rho={rho};")[0][0]
            for method in ("ExampleReweighting", "RandomWeights", "NoReweighting")
        )
        if float(er) <= float(rand):
            against.append(f"ρ = {rho}: example reweighting {er}, random weights {rand}")
        if float(er) > float(none):
            against.append(f"ρ = {rho}: example reweighting {er}, no reweighting {none}")
    assert " ".join(FINDINGS["text-against-table1"].evidence.split()) == f"ConvNet, {'; '.join(against)}"


def test_shares_of_the_target_set():
    text = said("target-share")
    times = [round(share / 0.0002) for share in (50 / 5000, 273 / 105000)]
    assert times == [50, 13]
    assert "13 to 50 times" in text and f"{50 / 5000:g}" in text and f"{273 / 105000:.4f}" in text
