"""The numbers of AutoBalance's findings, computed again from its published numbers."""

import math

import pandas as pd
import pytest
from support.project import ROOT

TABLE3 = ("group_balanced_error_pct", "worst_class_group_error_pct", "deo_error_pct")


@pytest.fixture(scope="module")
def printed():
    return pd.read_csv(ROOT / "data/published/autobalance.csv")


@pytest.fixture(scope="module")
def said(config):
    """Text and evidence of each finding."""
    return {one.id: f"{one.text} | {one.evidence}" for one in config.paper("autobalance").findings}


@pytest.fixture(scope="module")
def table3(printed):
    rows = printed[printed["table_or_figure"] == "Table3"]
    return rows.pivot(index="method", columns="metric", values="mean")


def table1(printed, dataset):
    rows = printed[(printed["table_or_figure"] == "Table1") & (printed["dataset"] == dataset)]
    return rows.set_index("method")["mean"]


def fits(percent, images, cut_off=False):
    """Whether a share of so many images is printed so, to two decimals."""
    near = math.floor(percent / 100 * images)
    shares = [100 * count / images for count in (near, near + 1)]
    rounded = [math.floor(100 * share) / 100 if cut_off else round(share + 1e-9, 2) for share in shares]
    return any(math.isclose(share, percent) for share in rounded)


def test_multiples_of_1_in_1200(table3, said):
    balanced, worst, deo = (table3[name] for name in TABLE3)
    assert [size for size in range(50, 2001) if all(fits(one, size) for one in worst)] == [1200]
    assert [one for one in deo if not fits(one, 1200)] == [6.91] and fits(6.91, 1200, cut_off=True)
    assert [one for one in balanced if not fits(one, 4800)] == [16.47] and fits(16.47, 4800, cut_off=True)
    text = said["multiples-of-1-in-1200"]
    assert all(number in text for number in ("6.91", "16.47", "50 to 2,000", "2,255", "642"))


def test_one_class_is_given_up(table3, said):
    balanced, worst, deo = (table3[name] for name in TABLE3)
    other = (2 * balanced - worst + deo / 2).round(2)
    order = [
        "CE",
        "CE_bal^G",
        "Group-LA",
        "CE_deo",
        "0.1*CE+0.9*CE_deo",
        "Group DRO",
        "AutoBalance: L_fair lambda_val=0.1",
    ]
    expected = [20.4, 15.1, 19.8, 16.0, 21.6, 3.7, 2.1]
    assert [round(value, 1) for value in other[order]] == pytest.approx(expected, abs=0.051)
    for value in expected:
        assert f"{value:.1f}" in said["one-class-given-up"]


def test_the_formula_of_the_other_class_holds_for_any_errors():
    """E the mean of four cells, W the worst, D the sum of both differences, W in class A: the larger error of B."""
    for a1, a2, b1, b2 in ((0.4, 0.1, 0.2, 0.05), (0.31, 0.29, 0.02, 0.04), (0.5, 0.5, 0.1, 0.0)):
        balanced, worst, deo = (a1 + a2 + b1 + b2) / 4, max(a1, a2), abs(a1 - a2) + abs(b1 - b2)
        assert 2 * balanced - worst + deo / 2 == pytest.approx(max(b1, b2))


def test_logit_adjustment_and_cdt_against_the_best_rows(printed, said):
    small, large = table1(printed, "CIFAR10-LT"), table1(printed, "CIFAR100-LT")
    ours = [name for name in large.index if name.startswith("AutoBalance")]
    assert large[ours].min() == 56.70 > 55.94 and large["LA tau=1"] == 58.96
    assert small["LA tau=1"] == 23.13 > 22.11
    text = said["logit-adjustment-of-its-own-authors"]
    assert all(number in text for number in ("55.94", "58.96", "56.70", "22.11", "23.13"))
    second = printed[(printed["table_or_figure"] == "Table2") & (printed["dataset"] == "CIFAR10-LT")]
    assert small["CDT"] == 20.73 < min(small[ours].min(), second["mean"].min())
    assert all(number in said["cdt-is-ahead"] for number in ("20.73", "21.39", "21.15", "20.76"))


def test_tau_alone_against_each(printed, said):
    ahead = {}
    for dataset in ("CIFAR10-LT", "CIFAR100-LT", "ImageNet-LT", "iNaturalist-2018"):
        rows = table1(printed, dataset)
        ahead[dataset] = rows["AutoBalance: tau of LA"] < min(rows["AutoBalance: l"], rows["AutoBalance: Delta"])
    assert [name for name, is_ahead in ahead.items() if not is_ahead] == ["CIFAR100-LT"]
    assert "58.68" in said["tau-behind-delta-on-cifar100"] and "58.40" in said["tau-behind-delta-on-cifar100"]


def test_the_filter_of_the_truncated_series(said):
    text = said["series-that-turns-the-sign"]
    for curvature, printed in ((1.5, "0.66"), (2.0, "0"), (2.5, "-4.2"), (5.0, "-819"), (10.0, "-53,144")):
        value = sum((1 - curvature) ** power for power in range(6))
        assert value == pytest.approx((1 - (1 - curvature) ** 6) / curvature)
        assert value == pytest.approx(float(printed.replace(",", "")), abs=0.06) and f"{printed} at" in text.replace(
            " ", " "
        )
