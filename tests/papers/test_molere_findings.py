"""The numbers of MOLERE's findings, computed again from its published numbers and from the sizes that it prints."""

import re

import pandas as pd
import pytest
from scipy.stats import ttest_ind_from_stats
from support.project import ROOT

from reweigh.data import imbalance

OURS = ("LRW-Easy", "LRW-Random", "LRW-Hard", "LRWOpt")


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    return pd.read_csv(ROOT / "data/published/molere.csv")


@pytest.fixture(scope="module")
def said(config) -> dict[str, str]:
    """Text and evidence of each finding, in one line."""
    found = config.paper("molere").findings
    return {one.id: " ".join(f"{one.text} | {one.evidence}".split()) for one in found}


def table(printed: pd.DataFrame, *names: str, index: tuple[str, ...] = ("table_or_figure", "dataset")) -> pd.DataFrame:
    """Accuracies of some tables: a line for each of their rows, a column for each method."""
    rows = printed[printed["table_or_figure"].isin(names)]
    return rows.pivot(index=list(index), columns="method", values="mean")


@pytest.fixture(scope="module")
def twelve(printed) -> pd.DataFrame:
    """The rows that have Easy, Random, Hard, LRWOpt and ERM."""
    return table(printed, "Table1", "Table5", "Table6")


def sets(rows: pd.Series) -> list[str]:
    """The data sets of the rows that are true."""
    return [name for _, name in rows.index[rows]]


def mean_ranks(rows: pd.DataFrame) -> pd.Series:
    """Mean rank of each method but the paper's own, 1 the best, ties shared."""
    others = rows.drop(columns=list(OURS)).dropna(axis=1, how="all")
    return others.rank(axis=1, ascending=False).mean()


def welch(skews: pd.DataFrame, sds: pd.DataFrame, n: int) -> list[float]:
    """p of LRWOpt against the best other method at each skew, two-sided, from means and deviations over n runs."""
    found = []
    for skew in (200, 50, 10, 1):
        means, deviations = (one.loc[f"class skew {skew}"] for one in (skews, sds))
        best = means.drop("LRWOpt").idxmax()
        sides = [(means[name], deviations[name], n) for name in ("LRWOpt", best)]
        found.append(float(ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue))
    return found


# --- Tables 1, 5 and 6: twelve rows ---


def test_the_order_holds_in_ten_of_twelve_rows(twelve, said):
    easy, random, hard = (twelve[name] for name in OURS[:3])
    assert len(twelve) == 12 and (hard > random).all()
    assert sets(~(easy < random)) == ["Aircraft", "iWildCam"]
    text = said["order-in-ten-of-twelve"]
    for name in ("Aircraft", "iWildCam"):
        row = twelve.xs(name, level="dataset").iloc[0]
        assert f"{name}: Easy {row['LRW-Easy']:.2f}, Random {row['LRW-Random']:.2f}" in text


def test_random_and_easy_against_erm(twelve, said):
    erm, random, easy, text = twelve["ERM"], twelve["LRW-Random"], twelve["LRW-Easy"], said["random-against-erm"]
    assert (random > erm).sum() == 7
    assert sets(random == erm) == ["Camelyon17", "DR (OOD)"] and "70.22" in text and "86.1;" in text
    losses = twelve[random < erm]
    assert {name for _, name in losses.index} == {"ImageNet-1K", "ImageNet-A"} and len(losses) == 3
    assert all(f"{row['LRW-Random']:g} and {row['ERM']:g}" in text for _, row in losses.iterrows())
    ahead = twelve[easy > erm]
    assert [name for _, name in ahead.index] == ["Aircraft", "iWildCam"]
    assert all(f"{row['LRW-Easy']:.2f} and {row['ERM']:.2f}" in text for _, row in ahead.iterrows())


def test_hard_against_opt(twelve, said):
    lead, text = (twelve["LRWOpt"] - twelve["LRW-Hard"]).round(2), said["hard-ahead-of-opt"]
    behind = lead[lead < 0]
    assert sorted(behind) == [-0.28, -0.15, -0.10, -0.10] and all(f" {value:.2f}" in text for value in behind)
    assert f"ahead in {(lead > 0).sum()} of {len(lead)}, by {lead[lead > 0].min()} to {lead.max():.2f}" in text


def test_where_another_method_is_level(twelve, said):
    rows = twelve.loc[["Table5", "Table6"]]
    best = rows.drop(columns=list(OURS)).max(axis=1)
    level = rows["LRWOpt"] <= best
    assert sets(level) == ["ImageNet-100", "ImageNet-A"] and (rows["LRWOpt"] == best)[level].all()
    assert (~level).sum() == 9 and "other nine rows" in said["a-tie-is-no-lead"]
    first, second = rows[level][["MAPLE", "FSR"]].to_numpy()
    assert (first[0], second[1]) == (87.67, 5.5) and "87.67 and 87.67" in said["a-tie-is-no-lead"]


@pytest.mark.parametrize(
    ("name", "finding", "rows"),
    [
        ("Table5", "who-comes-second", ["MAPLE", "FSR", "BiLAW", "RHO-Loss", "ERM", "MBR", "MWN"]),
        ("Table6", "who-comes-second-elsewhere", ["MAPLE", "StableNet", "FSR"]),
    ],
)
def test_mean_ranks(printed, said, name, finding, rows):
    ranks = mean_ranks(table(printed, name))
    assert "mean ranks: " + ", ".join(f"{row} {ranks[row]:.2f}" for row in rows) in said[finding]
    assert ranks.idxmax() == "MWN" and ranks.idxmin() in ("MAPLE", "FSR", "BiLAW")
    assert len(ranks) == 7


def test_camelyons_runner_up(twelve, said):
    row = twelve.loc[("Table6", "Camelyon17")]
    order = row.drop("LRWOpt").sort_values(ascending=False).index[:2].tolist()
    assert order == ["RHO-Loss", "LRW-Hard"]
    names = ("RHO-Loss", "LRW-Hard", "MAPLE", "StableNet")
    assert ", ".join(f"{name} {row[name]:.2f}" for name in names) in said["who-comes-second-elsewhere"]


def test_equal_numbers(twelve, said):
    first, second = twelve.loc[("Table5", "Aircraft")], twelve.loc[("Table5", "Stanford Cars")]
    assert [name for name in first.index if first[name] == second[name]] == ["FSR", "MWN"]
    assert all(
        f"{first[name]:.2f} and {first[name]:.2f}" in said["same-digits-for-aircraft-and-cars"]
        for name in ("FSR", "MWN")
    )
    assert f"{first['ERM']} and {second['ERM']}" in said["same-digits-for-aircraft-and-cars"]
    assert f"{first['ERM']} and {second['ERM']}" in said["resnet32-on-large-images"]
    cifar = twelve.loc[("Table5", "CIFAR-100")]
    assert cifar["LRW-Easy"] == cifar["MWN"] == 79.13 and "79.13 and 79.13" in said["easy-is-mwn"]


def test_vit(twelve, said):
    row, text = twelve.loc[("Table1", "ImageNet-1K")], said["one-percent-over-other-methods"]
    assert round(row["LRW-Hard"] - row["LRWOpt"], 2) == 0.15 and "0.15 ahead" in text
    assert f"{row['LRW-Hard']} against {row['LRWOpt']} (LRWOpt), {row['MWN']} (MWN), {row['ERM']} (ERM)" in text


# --- Tables 2, 3 and 4, and the text ---


def test_table_2_at_skew_1_is_not_table_5(printed, twelve, said):
    plain = table(printed, "Table2", index=("setting",)).loc["class skew 1"]
    whole = twelve.loc[("Table5", "CIFAR-100")]
    names = ("MWN", "FSR", "LRWOpt")
    text = said["another-net-in-table-2"]
    assert ", ".join(f"{name} {plain[name]:.2f} and {whole[name]:.2f}" for name in names) in text
    gaps = [f"{whole[name] - plain[name]:.2f}" for name in names]
    assert f"differences of {gaps[0]}, {gaps[1]} and {gaps[2]}" in text


def test_gains_of_table_2(printed, said):
    skews, text = table(printed, "Table2", index=("setting",)), said["against-which-method"]
    order = [f"class skew {skew}" for skew in (200, 50, 10, 1)]
    others = skews.drop(columns="LRWOpt")
    best = (skews["LRWOpt"] - others.max(axis=1)).round(2)[order].tolist()
    assert best == [1.97, 1.88, 1.61, 0.44] and "1.97, 1.88, 1.61 (GDW) and 0.44 (FSR)" in text
    assert others.idxmax(axis=1)[order].tolist() == ["GDW"] * 3 + ["FSR"]
    over = (skews["LRWOpt"] - skews["MWN"]).round(2)[order].tolist()
    assert f"over MWN {', '.join(f'{gain:.2f}' for gain in over)}" in text and max(over) == 2.22
    assert f"at most {(skews['LRWOpt'] - skews['FSR']).max():.2f}" in text


def test_p_values_of_table_2(printed, said):
    rows = printed[printed["table_or_figure"] == "Table2"]
    means, sds = (rows.pivot(index="setting", columns="method", values=value) for value in ("mean", "std"))
    three, five = welch(means, sds, 3), welch(means, sds, 5)
    assert (sum(p < 0.05 for p in three), sum(p < 0.05 for p in five)) == (1, 4)
    text = said["significantly-at-all-skews"]
    assert (
        f"with three runs: {', '.join(f'{p:.3f}' for p in three)}; with five: {', '.join(f'{p:.3f}' for p in five)}"
        in text
    )
    accuracies = printed[printed["metric"] == "top1_acc_pct"]
    assert f"{accuracies['std'].notna().sum()} of {len(accuracies)} accuracies" in said["unstated-ingredients"]


def test_what_clothing_says_of_lrw_hard(printed, said):
    row, text = table(printed, "Table3").loc[("Table3", "Clothing-1M")], said["clothing-leaves-hard-behind"]
    others = row.drop("LRWOpt")
    erm, relative = row["LRWOpt"] - 4.2, row["LRWOpt"] / 1.042
    hard, hard_relative = 1.013 * erm, 1.013 * relative
    assert hard < others.min() and row["LRWOpt"] - hard > 3 and (others > hard_relative).sum() == 4
    assert (
        f"ERM 73.97 - 4.2 = {erm:.2f}, Hard {hard:.2f}; relative: ERM {relative:.2f}, Hard {hard_relative:.2f}" in text
    )
    assert f"baselines {others.min()} to {others.max()}" in text
    quoted = printed[(printed["table_or_figure"] == "text") & (printed["dataset"] == "Clothing-1M")]
    assert {4.2, 1.3} <= set(quoted["mean"])


def test_gains_of_table_4(printed, said):
    rows = printed[printed["table_or_figure"] == "Table4"].set_index(["dataset", "setting", "method"])["mean"]
    gains = []
    for dataset, setting in (("ImageNet-1K test", "IN-R val; ResNet-50"), ("ImageNet-1K test", "IN-A val; ResNet-152")):
        ours, erm = (rows[dataset, setting, name] for name in ("LRWOpt + OOD val", "ERM (IN1K)"))
        gains.append(round(ours - erm, 2))
        assert f"{ours} - {erm} = {gains[-1]}" in said["accuracy-in-domain"]
    assert max(gains) < 1 and round(gains[1], 1) != 0.7
    assert rows["ImageNet-A test", "IN-A val; ResNet-152", "ERM (IN1K)"] == 6.2
    assert table(printed, "Table6").loc[("Table6", "ImageNet-A"), "ERM"] == 5.3
    assert "5.3 (Table 6), 6.2 (Table 4" in said["a-resnet50-on-imagenet-a"]


# What the text says of its own tables: dataset, setting, method -> the two numbers that it follows from, if any fit.
FOLLOWS = {
    ("ImageNet-1K", "Hard vs ERM"): ("Table5", "ImageNet-1K", "LRW-Hard", "ERM", "relative"),
    ("CIFAR-100", "Hard vs ERM"): ("Table5", "CIFAR-100", "LRW-Hard", "ERM", "relative"),
    ("ImageNet-1K", "Hard vs Easy"): ("Table5", "ImageNet-1K", "LRW-Hard", "LRW-Easy", "at least"),
    ("CIFAR-100", "Hard vs Easy"): ("Table5", "CIFAR-100", "LRW-Hard", "LRW-Easy", "at least"),
    ("iWildCam", "vs ERM"): ("Table6", "iWildCam", "LRWOpt", "ERM", "points"),
    ("Inst. C-10", "vs best baseline"): ("Table3", "Inst. C-10", "LRWOpt", "MAPLE", "points"),
    ("Clothing-1M", "vs GDW"): ("Table3", "Clothing-1M", "LRWOpt", "GDW", "points"),
    ("ImageNet-1K", "ViT-B/16 Hard vs Easy"): ("Table1", "ImageNet-1K", "LRW-Hard", "LRW-Easy", "points"),
    ("ImageNet-1K", "ViT-B/16 Hard vs ERM"): ("Table1", "ImageNet-1K", "LRW-Hard", "ERM", "points"),
}


@pytest.mark.parametrize("key", FOLLOWS, ids=lambda key: " ".join(key))
def test_the_other_numbers_of_the_text_follow_from_the_tables(printed, key):
    rows = printed[printed["table_or_figure"] == "text"].set_index(["dataset", "setting"])["mean"]
    name, dataset, method, other, kind = FOLLOWS[key]
    ours, theirs = table(printed, name).loc[(name, dataset), [method, other]]
    found = ours - theirs if kind == "points" else 100 * (ours / theirs - 1)
    assert found > rows[key] if kind == "at least" else found == pytest.approx(rows[key], abs=0.025)


# --- sizes, steps and passes ---


def test_classes_without_a_validation_image(said):
    sizes, text = imbalance.long_tail_sizes(500, 200, 100), said["classes-without-a-validation-image"]
    small = [size for size in sizes if size // 10 == 0]
    assert (
        f"{len(small)} of 100 classes have fewer than 10 images, the smallest {min(sizes)}; {sum(sizes):,} images"
        in text
    )


def test_steps_of_an_epoch(said):
    text, outer = said["epochs-counted-twice"], 5000 / 64
    steps, whole = round(5 * outer), -(-45000 // 64) - 1
    assert f"= {steps} of {whole} steps, {5 * outer / (45000 / 64):.2f} of a pass" in text
    assert 5000 - 45000 == -40000 and "-40,000" in said["stop-rule"]


def test_passes_of_l2r(said):
    text = said["cost-of-l2r"]
    erm, validation, derivative, backward = 3, 3, 2, 2
    assert f"= {validation + derivative + backward}, 7/3 = {7 / erm:.2f}" in text
    assert f"4/3 = {(erm + (validation + derivative) / 5) / erm:.2f}" in text


def test_sizes_of_the_validation_sets(said):
    text = said["size-of-the-validation-set"]
    pool = round(10200 * 2 / 3)
    assert f"{pool // 2:,} of {pool:,}" in text and "half of the pool" in text
    assert f"{100 * 600 / (37 * 100):.0f} % of it on Oxford-IIIT and {100 * 1000 / 8000:g} % on Cars" in text


def test_each_place_of_the_splitter_is_counted(said):
    text = said["which-side-is-validation"]
    training, validation = re.search(r"training: (.*); validation: (.*)", text).groups()
    count = {1: "one", 4: "four", 6: "six", 10: "ten"}
    assert (count[len(training.split(", "))], count[len(validation.split(", "))]) == ("six", "four")
    assert "In six" in text and "in four" in text and text.startswith("Ten places")
