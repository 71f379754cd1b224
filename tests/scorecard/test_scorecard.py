"""The scorecard: every published number once, verdicts by the rule, claims by paired seeds, cut-down scales marked."""

from pathlib import Path

import pandas as pd
import pytest
from support import synthetic_records
from support.project import ROOT

from reweigh import scorecard, stats
from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.scorecard.claim_tests import TESTS
from reweigh.scorecard.text import markdown

CLAIM = "accuracy-at-0.005-code"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records: Table 3 and MNIST at scale paper, MNIST at scale quick."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("table3", "fig5"):
        synthetic_records.fill(root, "paper", "tdr", artifact)
    for seed, (tdr, plain) in enumerate([(0.80, 0.79), (0.81, 0.78), (0.79, 0.79), (0.80, 0.78), (0.80, 0.79)]):
        synthetic_records.make(root, f"paper/tdr/adult/sex/tdr_p/seed{seed}", test_accuracy=tdr)
        synthetic_records.make(root, f"paper/tdr/adult/sex/none_p/seed{seed}", test_accuracy=plain)
    synthetic_records.fill(root, "quick", "tdr", "fig5")
    return root


@pytest.fixture(scope="module")
def lines(root: Path) -> pd.DataFrame:
    return scorecard.score(load(root), "paper", ["tdr"])


def number(lines: pd.DataFrame, text: str) -> pd.Series:
    return lines[lines["id"].str.contains(text, regex=False)].iloc[0]


def test_every_published_number_is_a_line_and_stands_as_printed(root: Path, lines: pd.DataFrame) -> None:
    numbers = lines[lines["kind"] == "number"].reset_index(drop=True)
    published = pd.read_csv(root / "data/published/tdr.csv")
    assert len(numbers) == len(published) == 64
    pd.testing.assert_series_equal(numbers["published"], published["mean"], check_names=False)
    pd.testing.assert_series_equal(numbers["published_sd"], published["std"], check_names=False)
    assert numbers["id"].is_unique
    assert numbers["experiment"].notna().all()


def test_a_number_by_hand(lines: pd.DataFrame) -> None:
    line = number(lines, "Table3/adult/sex/tdr_p")
    ours = stats.summarise([0.80, 0.81, 0.79, 0.80, 0.80])
    assert (line["mean"], line["sd"], line["low"], line["high"]) == pytest.approx(
        (ours.mean, ours.sd, ours.low, ours.high)
    )
    assert line["n"] == 5
    assert line["difference"] == pytest.approx(0.80 - 0.7906)
    assert line["gain"] == pytest.approx(stats.summarise([0.01, 0.03, 0.0, 0.02, 0.01]).mean)
    assert line["gain_low"] < line["gain"] < line["gain_high"]
    assert line["published_gain"] == pytest.approx(0.7906 - 0.7511)
    assert line["verdict"] == "replicated"
    assert "constant prediction scores 0.7860" in line["note"]
    assert tables.expand_runs(line["runs"]) == [f"paper/tdr/adult/sex/tdr_p/seed{seed}" for seed in range(5)]


def test_gaps_are_told_apart(lines: pd.DataFrame) -> None:
    assert number(lines, "Figure8").verdict == "not run"
    assert number(lines, "Figure8").note == load(ROOT).experiment("tdr", "nexrad").reason
    unreported = lines[(lines["kind"] == "number") & lines["published"].isna()]
    assert len(unreported) == 6
    assert set(unreported["verdict"]) == {"not reported"}
    untrained = number(lines, "Table1/cifar10-4v9-convnet/rho0.05/tdr")
    assert (untrained["verdict"], untrained["note"]) == ("not run", "not trained yet")


def test_every_claim_is_a_line_and_has_a_test(root: Path, lines: pd.DataFrame) -> None:
    claims = load(root).paper("tdr").claims
    assert lines[lines["kind"] == "claim"]["id"].tolist() == [claim.id for claim in claims]
    assert {claim.test for claim in claims if not claim.reason} <= set(TESTS)


def test_a_claim_that_no_run_decides_says_what_does(root: Path, lines: pd.DataFrame) -> None:
    """Appendix A counts in classes and samples, which no run varies. It has lines all the same, and no p."""
    claims = [claim for claim in load(root).paper("tdr").claims if claim.test == "not_by_runs"]
    assert [claim.source.partition(" (")[0] for claim in claims] == ["Appendix A"] * 2
    for claim in claims:
        line = lines[lines["id"] == claim.id].iloc[0]
        assert (line["verdict"], line["status"], line["n"]) == ("not run", "not run", 0)
        assert line["note"] == claim.reason == "measured by `reweigh bench app-a`, not by runs: docs/speed.md"
        assert pd.isna(line["p"]) and line["runs"] == ""
    assert "| none: no run decides it |" in markdown(load(root), "paper", lines)


def test_a_claim_by_hand(root: Path, lines: pd.DataFrame) -> None:
    frame = tables.load_cells(load(root), [f"paper/tdr/mnist-4v9/rho0.005/{method}" for method in ("tdr", "er")])
    wide = frame.pivot(index="seed", columns="method", values="test_accuracy")
    expected = stats.above((wide["tdr"] - wide["er"]).tolist(), 0.0)
    line = number(lines, CLAIM)
    assert line["effect"] == pytest.approx(expected.effect)
    assert line["p"] == pytest.approx(2 * min(expected.p_for, expected.p_against))
    assert line["verdict"] == stats.claim_verdict(expected.p_for, expected.p_against, line["p_holm"])
    assert line["n"] == 5


def test_p_values_are_corrected_over_the_paper(lines: pd.DataFrame) -> None:
    tested = lines[(lines["kind"] == "claim") & lines["p"].notna()]
    assert len(tested) >= 5
    assert tested["p_holm"].tolist() == pytest.approx(stats.holm(tested["p"].tolist()))
    assert set(lines[(lines["kind"] == "claim") & lines["p"].isna()]["verdict"]) <= {
        "not run",
        "inconclusive",
        "degenerate",
    }


def test_pairs_are_made_by_seed_and_not_by_order(root: Path, tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    for seed in range(5):
        synthetic_records.make(other, f"paper/tdr/mnist-4v9/rho0.005/tdr/seed{seed}", test_accuracy=0.5 + 0.1 * seed)
    for seed in reversed(range(1, 5)):
        synthetic_records.make(other, f"paper/tdr/mnist-4v9/rho0.005/er/seed{seed}", test_accuracy=0.48 + 0.1 * seed)
    lines = scorecard.score(load(other), "paper", ["tdr"])
    assert number(lines, CLAIM)["n"] == 4
    assert number(lines, CLAIM)["effect"] == pytest.approx(0.02)
    part = number(lines, "accuracy-at-every-ratio-code")  # a claim on four ratios is not decided on one
    assert part["verdict"] == "not run"
    assert part["note"].startswith("6 of 8 cells have no record (not trained yet): rho0.1/tdr")


def test_costs_are_compared_on_one_device_only(root: Path, tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    synthetic_records.fill(other, "paper", "tdr", "fig5", seeds=3)
    line = number(scorecard.score(load(other), "paper", ["tdr"]), "er-costs-t_in-times-tdr-code")
    assert line["effect"] == pytest.approx(2.8)
    assert line["verdict"] == "fails"
    assert line["n"] == 3


def test_smaller_scales_say_so_everywhere(root: Path) -> None:
    card = scorecard.write("quick", root, ["tdr"])
    decided = card.lines[~card.lines["verdict"].isin(["not run", "not reported"])]
    assert not decided.empty
    assert decided["verdict"].str.startswith("quick: ").all()  # of numbers that were run see test_numbers.py
    assert (decided["scale_note"] != "").all()
    text = card.text.read_text()
    assert "with an interval of ours" not in text
    assert "This is no replication." in text
    assert "**holds**" not in text


def test_the_text_shows_counts_rule_findings_and_never_an_average(root: Path) -> None:
    card = scorecard.write("paper", root, ["tdr"])
    text = card.text.read_text()
    assert "no replication" not in text
    assert "τ = max(one point, s)" in text
    for finding in load(root).paper("tdr").findings:
        assert finding.evidence in text
    assert card.counts["number"]["not reported"] == 6
    assert sum(card.counts["number"].values()) == 64
    assert f"| not run | {card.counts['number']['not run']} |" in text
    assert list(card) == [root / f"results/paper/scorecard.{kind}" for kind in ("csv", "md", "html")]


def test_the_same_records_give_the_same_bytes(root: Path) -> None:
    first = [path.read_bytes() for path in scorecard.write("paper", root, ["tdr"])]
    assert [path.read_bytes() for path in scorecard.write("paper", root, ["tdr"])] == first


def test_an_unknown_scale_or_paper_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        scorecard.score(load(root), "quik")
    with pytest.raises(ConfigError, match="did you mean 'tdr'"):
        scorecard.score(load(root), "paper", ["trd"])


def test_models_that_collapsed_are_named(root: Path, tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    for seed in range(2):
        synthetic_records.make(other, f"paper/tdr/mnist-4v9/rho0.005/tdr/seed{seed}", test_accuracy=0.9 + 0.01 * seed)
        one_class = {"test_accuracy": 0.5, "confusion": [[0, 982], [0, 982]]}
        synthetic_records.make(other, f"paper/tdr/mnist-4v9/rho0.005/er/seed{seed}", **one_class)
    line = number(scorecard.score(load(other), "paper", ["tdr"]), CLAIM)
    assert line["verdict"] == "degenerate" and line["note"].endswith("2 of 2 runs of er predict one class")
    assert line["effect"] == pytest.approx(0.405) and line[["p", "p_holm", "effect_low"]].isna().all()


def test_a_title_in_a_markdown_table_is_what_it_is():
    from reweigh.scorecard.text import plain, table

    title = "a|b [c](d) `e` <script>alert(1)</script> *f* _g_ h_i &lt;\nj"
    head, rule, row = table(["method"], [[plain(title)]]).splitlines()
    assert (head, rule) == ("| method |", "| --- |")
    assert row == (r"| a\|b \[c\](d) \`e\` \<script>alert(1)\</script> \*f\* \_g\_ h_i \&lt; j |")
